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
from refrain.export.proof import SHAPES, Reference, initial_states, renamed
from refrain.export.proof_of_scores import library_scorer, random_texts
from refrain.export.recogniser_tokens import TokenIds, same_ids
from refrain.models.step_graph import step_graph

TOKENS = tuple(bytes([65 + index]) for index in range(V))
FLAGS = ("-std=c99", "-O0", "-Wall", "-Wextra", "-Werror", "-pedantic")

needs_compiler = pytest.mark.skipif(compiler() is None, reason="there is no C compiler")


def made(name, reset):
    model = around(DescribedUnit(H), DescribedUnit(H)) if name == "own cell" else EVERY[name]()
    model = drawn(model, torch.float32)
    model.reset_before = reset
    return model, step_graph(model)


def difference(run, model, graph, weights="float32", same=None):
    """The largest difference of log-probabilities and states from the library's, over several shapes."""
    draw, same, worst = np.random.default_rng(3), same or Reference(model, weights), 0.0
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


def nats_of_chunks(made_file, graph, plain, ids):
    """The nats of all tokens so far in calls with several tokens, as the file and as the library find them."""
    import onnxruntime

    session = onnxruntime.InferenceSession(made_file.files[""])
    size = int(session.get_inputs()[1].shape[-1])
    h0, c0 = np.zeros((2, 1, 2, size), np.float32)
    texts, found = np.random.default_rng(5).integers(len(ids.read), size=(2, 9)), []
    start = np.full((2, 1), ids.line_end)
    for chunk in (start, texts[:, :2], texts[:, 2:5], texts[:, 5:]):
        scores, h0, c0 = session.run(None, {"x": chunk, "h0": h0, "c0": c0})
        found.append(scores[:, 0])
    own = np.concatenate([np.full((2, 1), ids.read_line_end), ids.read[texts]], 1)
    log_probabilities, _ = plain(own[:, :-1], initial_states(graph, 2))
    each = -np.take_along_axis(log_probabilities, own[:, 1:, None], -1)[..., 0]
    return np.array(found[1:]), np.array([each[:, :end].sum(1) for end in (2, 5, 9)])


@pytest.mark.parametrize("weights", ["float32", "int8"])
@pytest.mark.parametrize("reset", [None, 3])
@pytest.mark.parametrize("name", [*EVERY, "own cell"])
def test_files_for_a_recogniser_compute_the_same(export_onnx, name, reset, weights):
    from refrain.export import sherpa_offline, sherpa_online

    model, graph = made(name, reset)
    # the recogniser has a blank, and the tokens of the model in another order without one of them
    read = np.array([9, *range(1, V)])[::-1].copy()
    read[0] = 0
    write = np.full(V, -1)
    write[read[1:]] = np.arange(1, V)
    for ids in (None, TokenIds(read, write, V, 3, renames=True)):
        options = Options(weights=weights, start=3, ids=ids)
        ids = ids or same_ids(V, 3)
        plain = Reference(model, weights)
        same = renamed(plain, ids)
        allowed = 1e-5 if weights == "float32" else 0.15
        found = difference(sherpa_online.export(graph, options).runner(), model, graph, weights, same)
        assert (weights == "int8" and found > 0) or found < 1e-5
        assert found < allowed
        again, expected = nats_of_chunks(sherpa_online.export(graph, options), graph, plain, ids)
        assert np.abs(again - expected).max() < (1e-4 if weights == "float32" else 1)
        score, expected = sherpa_offline.export(graph, options).scorer(), library_scorer(plain, graph, ids)
        for given, lengths in random_texts(V):
            assert np.abs((score(given, lengths) - expected(given, lengths)) / (lengths + 1)).max() < allowed


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
