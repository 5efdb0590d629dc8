"""Small language models for a recogniser, and what their scores of a text are.

MODES are the ways in which sherpa-onnx uses a model: for shallow fusion, to score hypotheses again, and offline.
"""

import functools

import numpy as np
import torch
import transducer

from refrain.export import sherpa_offline, sherpa_online
from refrain.export.formats import Options
from refrain.export.proof import Reference, initial_states
from refrain.export.recogniser_tokens import TokenIds
from refrain.models import LanguageModel
from refrain.models.step_graph import step_graph
from refrain.nn import GRU, LSTM, Embedding, MultiplicativeLSTM, RecurrentStack, SoftmaxHead

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


@functools.cache
def own_scores(name, ending, text):
    """`scored` of what `write_export` writes."""
    weights = "int8" if ending == " int8" else "float32"
    return scored(name, text, READ if ending == " renamed" else np.arange(R), weights)


def draw_transducer():
    """Scores of a transducer: of each token at each frame, and of each after each."""
    draw = np.random.default_rng(6)
    return draw.normal(size=(FRAMES, R)) * 1.2, draw.normal(size=(R, R))


def write_export(path, name, ending, mode):
    """Write the file of a model for a mode; `ending` is empty, " int8" or " renamed"."""
    ids = RENAMED if ending == " renamed" else None
    options = Options(weights="int8" if ending == " int8" else "float32", start=END, ids=ids)
    export = sherpa_offline.export if mode == "offline" else sherpa_online.export
    path.write_bytes(export(made(name)[1], options).files[""])


def counted(scores, mode):
    """The scores of a text that count, of those of its tokens and of its end.

    The end counts where whole texts are scored. Hypotheses that are scored again are scored without their last token,
    at least two tokens at a time.
    """
    return {"offline": scores, "fusion": scores[:-1], "again": scores[:-2] if len(scores) > 3 else []}[mode]


def expected_text(alone, name, ending, mode):
    """The text that brute force finds, given the scores of all texts by the transducer alone."""
    both = {text: score + SCALE * sum(counted(own_scores(name, ending, text), mode)) for text, score in alone.items()}
    return transducer.best(both)
