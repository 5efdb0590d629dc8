"""Every model in every format computes what the library computes, in float32 and in int8."""

import json

import numpy as np
import pytest
import torch
from table import V
from test_step_graph import EVERY, DescribedUnit, H, around, drawn

from refrain.export.c_format import export as export_c
from refrain.export.c_format import runner as run_c
from refrain.export.formats import Options, compiler
from refrain.export.proof import SHAPES, Reference, initial_states
from refrain.models.step_graph import step_graph

TOKENS = tuple(bytes([65 + index]) for index in range(V))
FLAGS = ("-std=c99", "-O0", "-Wall", "-Wextra", "-Werror", "-pedantic")

needs_compiler = pytest.mark.skipif(compiler() is None, reason="there is no C compiler")


def made(name, reset):
    model = around(DescribedUnit(H), DescribedUnit(H)) if name == "own cell" else EVERY[name]()
    model = drawn(model, torch.float32)
    model.reset_before = reset
    return model, step_graph(model)


def difference(run, model, graph, weights="float32"):
    """The largest difference of log-probabilities and states from the library's, over several shapes."""
    draw, same, worst = np.random.default_rng(3), Reference(model, weights), 0.0
    for batch, steps in SHAPES:
        ours = theirs = initial_states(graph, batch)
        for _ in range(2):
            ids = draw.integers(V, size=(batch, steps))
            expected, ours = same(ids, ours)
            found, theirs = run(ids, theirs)
            assert found.shape == expected.shape
            for one, other in zip([found, *theirs], [expected, *ours], strict=True):
                worst = max(worst, float(np.abs(one - other).max()))
    return worst


@pytest.fixture(scope="module")
def export_onnx():
    pytest.importorskip("onnx", reason="ONNX files are written with onnx")
    pytest.importorskip("onnxruntime", reason="ONNX files are run with onnxruntime")
    from refrain.export.onnx_format import export

    return export


@pytest.mark.parametrize("steps", ["many", "one"])
@pytest.mark.parametrize("reset", [None, 3])
@pytest.mark.parametrize("name", [*EVERY, "own cell"])
def test_onnx_files_compute_the_same(export_onnx, name, reset, steps):
    model, graph = made(name, reset)
    made_file = export_onnx(graph, Options(steps=steps))
    assert difference(made_file.runner(), model, graph) < 1e-5


@pytest.mark.parametrize("steps", ["many", "one"])
@pytest.mark.parametrize("name", EVERY)
def test_onnx_files_in_int8_compute_nearly_the_same(export_onnx, name, steps):
    model, graph = made(name, None)
    small = export_onnx(graph, Options(weights="int8", steps=steps))
    # the inputs of matmuls are rounded as well, to 255ths of their range
    assert 0 < difference(small.runner(), model, graph, "int8") < 0.1


def test_two_onnx_exports_have_the_same_bytes(export_onnx):
    files = []
    for _ in range(2):
        _, graph = made("multiplicative", 3)
        files.append(export_onnx(graph, Options(weights="int8", metadata={"b": "1", "a": "2"})).files[""])
    assert files[0] == files[1]


def test_lstm_and_gru_layers_are_operators_with_weights_as_initialisers(export_onnx):
    import onnx

    for name, kind, count in (
        ("untied", "LSTM", 2),
        ("gru", "GRU", 2),
        ("gru, two biases", "GRU", 2),
        ("sparse, tied", "LSTM", 5),
    ):
        _, graph = made(name, None)
        content = onnx.load_from_string(export_onnx(graph, Options()).files[""]).graph
        nodes = [node for node in content.node if node.op_type == kind]
        stored = {each.name for each in content.initializer}
        assert len(nodes) == count
        assert all(set(node.input[1:4]) <= stored for node in nodes)
    _, graph = made("untied", None)
    small = onnx.load_from_string(export_onnx(graph, Options(weights="int8")).files[""]).graph
    assert sum(node.op_type == "DynamicQuantizeLSTM" for node in small.node) == 2


def test_axes_and_states_of_an_onnx_file_have_names(export_onnx):
    import onnx

    def shapes(values):
        return {each.name: [d.dim_param or d.dim_value for d in each.type.tensor_type.shape.dim] for each in values}

    _, graph = made("untied", None)
    content = onnx.load_from_string(export_onnx(graph, Options(metadata={"x": json.dumps([1])})).files[""])
    states = {"layer0_hidden": 4, "layer0_cell": 4, "layer1_hidden": 6, "layer1_cell": 6}
    assert shapes(content.graph.input) == {
        "ids": ["batch", "time"],
        **{name: ["batch", size] for name, size in states.items()},
    }
    assert shapes(content.graph.output) == {
        "log_probabilities": ["batch", "time", V],
        **{f"next_{name}": ["batch", size] for name, size in states.items()},
    }
    assert {each.key: each.value for each in content.metadata_props} == {"x": "[1]"}


C_CASES = [
    ("untied", None, "float32", True),
    ("gru", 3, "int8", False),
    ("gru, two biases", None, "float32", False),
    ("multiplicative, tied", 3, "float32", False),
    ("mixture, tied", None, "int8", True),
    ("adaptive", None, "float32", False),
    ("sparse, tied", 3, "int8", True),
    ("sparse, untied", None, "float32", True),
    ("own cell", 3, "float32", False),
]


@needs_compiler
@pytest.mark.parametrize(("name", "reset", "weights", "libm"), C_CASES)
def test_c_code_computes_the_same(name, reset, weights, libm):
    model, graph = made(name, reset)
    code = export_c(graph, Options(weights=weights, libm=libm, tokens=TOKENS))
    assert libm or b"math.h" not in code.files["model.c"]
    # -ffreestanding knows nothing of the C library
    flags = FLAGS if libm else (*FLAGS, "-ffreestanding")
    assert difference(run_c(code.files, graph, flags), model, graph, weights) < 1e-5


def test_two_c_exports_have_the_same_bytes():
    files = [export_c(made("mixture", 3)[1], Options(tokens=TOKENS)).files for _ in range(2)]
    assert files[0] == files[1]
