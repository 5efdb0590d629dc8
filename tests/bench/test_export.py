"""`bench_export` on tiny models."""

import pytest

from refrain.bench import export
from refrain.config import resolve
from refrain.errors import UserError
from refrain.export.formats import compiler
from refrain.recipes import RECIPES

TINY = ("model.embedding_size=6", "model.hidden_sizes=[6,5]")


@pytest.fixture
def tiny(monkeypatch):
    pytest.importorskip("onnxruntime", reason="ONNX files are run with onnxruntime")
    pytest.importorskip("onnx", reason="ONNX files are written with onnx")
    monkeypatch.setattr(export, "VOCABULARY", 20)
    return resolve("zaremba-medium", TINY, RECIPES)


def measured(experiment, *, sizes, log=lambda line: None):
    return export.bench_export(experiment, hidden_sizes=sizes, tokens=3, repeats=1, log=log)


def test_every_format_is_measured_in_both_precisions_for_both_models(tiny):
    rows = measured(tiny, sizes=(4, 3))
    ways = ["stepper", "ONNX Runtime, windows", "ONNX Runtime, single steps", *["C"] * (compiler() is not None)]
    models = [f"{sizes}, {weights}" for sizes in ("6-5", "4-3") for weights in ("float32", "int8")]
    assert [row["name"] for row in rows] == [f"{model}: {way}" for model in models for way in ways]
    assert rows[0]["ratio"] == 1.0
    assert all((row["megabytes"] is None) == row["name"].endswith("stepper") for row in rows)


def test_code_that_is_too_large_to_compile_is_left_out(tiny, monkeypatch):
    if compiler() is None:
        pytest.skip("there is no C compiler")
    monkeypatch.setattr(export, "MOST_C_WEIGHTS", {"float32": 10, "int8": 1_000_000})
    lines = []
    names = [row["name"] for row in measured(tiny, sizes=None, log=lines.append)]
    assert "6-5, float32: C" not in names
    assert "6-5, int8: C" in names
    assert lines[0].endswith("float32 weights is left out, as compilers need too much memory for it")


def test_a_second_model_has_a_width_for_each_layer(tiny):
    with pytest.raises(UserError, match="a width for each of 2 layers"):
        measured(tiny, sizes=(3,))
