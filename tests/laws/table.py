"""Every part that stands under the laws of its kind. A new part is added here in the change that adds it."""

from refrain.models import LanguageModel
from refrain.nn import LSTM, Embedding, RecurrentStack, SoftmaxHead, lstm_step

T, B, I, H, V = 7, 3, 5, 4, 11  # noqa: E741 - odd and all different, so that a mixed-up axis cannot go unseen

RECURRENT = {"LSTM": lambda: LSTM(I, H)}


def lstm_reference(layer):
    """The step of a layer, as a function of one input and a state."""
    return lambda x, state: lstm_step(x, state, layer.weight_ih, layer.weight_hh, layer.bias)


STEPS = {"LSTM": lstm_reference}

HEADS = {
    "SoftmaxHead": lambda: SoftmaxHead(H, V),
    "SoftmaxHead, tied": lambda: SoftmaxHead(H, V, weight=Embedding(V, H).weight),
}

MODELS = {
    "untied": lambda: LanguageModel(Embedding(V, I), RecurrentStack([LSTM(I, H), LSTM(H, 6)]), SoftmaxHead(6, V)),
    "tied": lambda: tied_model(),
}


def tied_model():
    embedding = Embedding(V, I)
    return LanguageModel(
        embedding, RecurrentStack([LSTM(I, H), LSTM(H, I)]), SoftmaxHead(I, V, weight=embedding.weight)
    )
