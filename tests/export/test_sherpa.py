"""A language model in the recogniser of sherpa-onnx, the real one: what it recognises is what brute force finds."""

import functools
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("onnx", reason="ONNX files are written with onnx")
pytest.importorskip("onnxruntime", reason="ONNX files are run with onnxruntime")

import transducer

from refrain.export import sherpa_offline, sherpa_online
from refrain.export.formats import Options
from refrain.export.proof import Reference, initial_states
from refrain.export.recogniser_tokens import TokenIds
from refrain.models import LanguageModel
from refrain.models.step_graph import step_graph
from refrain.nn import GRU, LSTM, Embedding, MultiplicativeLSTM, RecurrentStack, SoftmaxHead

needs_sherpa = pytest.mark.skipif(importlib.util.find_spec("sherpa_onnx") is None, reason="needs sherpa-onnx")

MODES = ("fusion", "again", "offline")
R, FRAMES, SCALE, END = len(transducer.NAMES), 4, 0.8, 1
LAYERS = {
    "LSTM": lambda: [LSTM(5, 6)],
    "LSTM of uneven widths": lambda: [LSTM(5, 7), LSTM(7, 4)],
    "GRU of odd width": lambda: [GRU(5, 7)],
    "GRU of uneven widths": lambda: [GRU(5, 4), GRU(4, 6)],
    "multiplicative LSTM": lambda: [MultiplicativeLSTM(5, 6, intermediate_size=3), LSTM(6, 3)],
}
# the model's tokens in another order, without a blank and with one that the recogniser lacks
READ = np.array([5, 4, 5, 2, 0, 1])
WRITE = np.array([4, 5, 3, -1, 1, 2])
RENAMED = TokenIds(READ, WRITE, END, int(READ[END]), renames=True)


@functools.cache
def made(name):
    torch.manual_seed(3)
    stack = RecurrentStack(LAYERS[name]())
    model = LanguageModel(Embedding(R, 5), stack, SoftmaxHead(stack.layers[-1].hidden_size, R)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=1.2)
    return model, step_graph(model)


@functools.cache
def library(name, weights):
    return Reference(made(name)[0], weights)


def scored(name, text, read, weights="float32"):
    """The log-probability of each token of a text and of its end, by the library."""
    ids = [read[END], *(read[token] for token in text)]
    found, _ = library(name, weights)(np.array([ids]), initial_states(made(name)[1], 1))
    return [float(row[token]) for row, token in zip(found[0], [*ids[1:], read[END]], strict=True)]


@pytest.fixture(scope="module")
def recognised(tmp_path_factory):
    """What the recogniser finds for each case, and the scores of the transducer alone."""
    folder = tmp_path_factory.mktemp("transducer")
    draw = np.random.default_rng(6)
    frames, pairs = draw.normal(size=(FRAMES, R)) * 1.2, draw.normal(size=(R, R))
    transducer.write(folder, frames, pairs)
    cases = {("none", mode): [mode, None, 0.0] for mode in MODES}
    for name in LAYERS:
        for ending in ("", " int8", " renamed"):
            ids = RENAMED if ending == " renamed" else None
            options = Options(weights="int8" if ending == " int8" else "float32", start=END, ids=ids)
            for mode in MODES:
                path = folder / f"{name}{ending}{mode}.onnx"
                export = sherpa_offline.export if mode == "offline" else sherpa_online.export
                path.write_bytes(export(made(name)[1], options).files[""])
                cases[name + ending, mode] = [mode, str(path), SCALE]
    given = json.dumps({"folder": str(folder), "cases": list(cases.values())})
    script = Path(__file__).with_name("recognise.py")
    ran = subprocess.run([sys.executable, script], input=given, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    return dict(zip(cases, json.loads(ran.stdout), strict=True)), transducer.texts(frames, pairs)


def counted(scores, mode):
    """The scores of a text that count, of those of its tokens and of its end.

    The end counts where whole texts are scored. Hypotheses that are scored again are scored without their last token,
    at least two tokens at a time.
    """
    return {"offline": scores, "fusion": scores[:-1], "again": scores[:-2] if len(scores) > 3 else []}[mode]


@needs_sherpa
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ending", ["", " renamed"])
@pytest.mark.parametrize("name", LAYERS)
def test_the_recogniser_finds_the_text_that_brute_force_finds(recognised, name, ending, mode):
    found, alone = recognised
    read = READ if ending else np.arange(R)
    both = {text: score + SCALE * sum(counted(scored(name, text, read), mode)) for text, score in alone.items()}
    expected = transducer.best(both)
    words, own = found[name + ending, mode]
    assert words == [transducer.NAMES[token] for token in expected]
    without = [transducer.NAMES[token] for token in transducer.best(alone)]
    assert found["none", mode] == [without, []]
    if mode == "fusion":
        assert own == pytest.approx(scored(name, expected, read)[:-1], abs=1e-4)


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
    text = [transducer.NAMES.index(word) for word in words]
    expected = scored(name, text, np.arange(R), "int8")[:-1]
    # the inputs of matmuls are rounded as well
    assert own == pytest.approx(expected, abs=0.1)
