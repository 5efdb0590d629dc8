"""A language model in the recogniser of sherpa-onnx, the real one: what it recognises is what brute force finds."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="ONNX files are written with onnx")
pytest.importorskip("onnxruntime", reason="ONNX files are run with onnxruntime")

import transducer
from recogniser_models import LAYERS, MODES, SCALE, draw_transducer, expected_text, own_scores, write_export

needs_sherpa = pytest.mark.skipif(importlib.util.find_spec("sherpa_onnx") is None, reason="needs sherpa-onnx")


@pytest.fixture(scope="module")
def recognised(tmp_path_factory):
    """What the recogniser finds for each case, and the scores of the transducer alone."""
    folder = tmp_path_factory.mktemp("transducer")
    frames, pairs = draw_transducer()
    transducer.write(folder, frames, pairs)
    cases = {("none", mode): [mode, None, 0.0] for mode in MODES}
    for name in LAYERS:
        for ending in ("", " int8", " renamed"):
            for mode in MODES:
                path = folder / f"{name}{ending}{mode}.onnx"
                write_export(path, name, ending, mode)
                cases[name + ending, mode] = [mode, str(path), SCALE]
    given = json.dumps({"folder": str(folder), "cases": list(cases.values())})
    script = Path(__file__).with_name("recognise.py")
    ran = subprocess.run([sys.executable, script], input=given, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    return dict(zip(cases, json.loads(ran.stdout), strict=True)), transducer.texts(frames, pairs)


@needs_sherpa
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ending", ["", " renamed"])
@pytest.mark.parametrize("name", LAYERS)
def test_the_recogniser_finds_the_text_that_brute_force_finds(recognised, name, ending, mode):
    found, alone = recognised
    expected = expected_text(alone, name, ending, mode)
    words, own = found[name + ending, mode]
    assert words == [transducer.NAMES[token] for token in expected]
    without = [transducer.NAMES[token] for token in transducer.best(alone)]
    assert found["none", mode] == [without, []]
    if mode == "fusion":
        assert own == pytest.approx(own_scores(name, ending, expected)[:-1], abs=1e-4)


@needs_sherpa
def test_a_language_model_changes_what_is_recognised(recognised):
    found, _ = recognised
    for mode in MODES:
        texts = {tuple(words) for (_, each), (words, _) in found.items() if each == mode}
        assert len(texts) > 3
    # texts of several tokens, so that states are passed on
    assert max(len(own) for _, own in found.values()) >= 2


@needs_sherpa
@pytest.mark.parametrize("name", LAYERS)
def test_the_recogniser_reads_int8(recognised, name):
    found, _ = recognised
    words, own = found[f"{name} int8", "fusion"]
    text = tuple(transducer.NAMES.index(word) for word in words)
    expected = own_scores(name, " int8", text)[:-1]
    # the inputs of matmuls are rounded as well
    assert own == pytest.approx(expected, abs=0.1)
