"""A text holds what it holds alone, step by step, whatever is read beside it."""

import importlib
import random

import numpy as np
import pytest
import torch

from refrain.errors import UserError
from refrain.generation import features
from refrain.models import LanguageModel, Stepper
from refrain.nn import (
    GRU,
    LSTM,
    Embedding,
    LockedDropout,
    MultiplicativeLSTM,
    RecurrentStack,
    SoftmaxHead,
    WeightDropout,
)

V, WIDTHS = 11, (6, 5)
# float32 sums in another order
CLOSE = {"atol": 1e-6, "rtol": 1e-5}


def tiny(cell, **options):
    torch.manual_seed(3)
    layers = [cell(4, WIDTHS[0], **options), cell(WIDTHS[0], WIDTHS[1], **options)]
    dropout = LockedDropout(0.5)
    return LanguageModel(
        Embedding(V, 4), RecurrentStack(layers, between=dropout), SoftmaxHead(WIDTHS[1], V), embedding_dropout=dropout
    )


@pytest.fixture(params=["LSTM", "GRU", "MultiplicativeLSTM", "weight drop", "state that is reset"])
def model(request):
    match request.param:
        case "GRU":
            return tiny(GRU)
        case "MultiplicativeLSTM":
            return tiny(MultiplicativeLSTM)
        case "weight drop":
            return tiny(LSTM, recurrent_transform=WeightDropout(0.5))
    model = tiny(LSTM)
    model.reset_before = 3 if "reset" in request.param else None
    return model


@pytest.fixture(scope="module")
def texts():
    """Lengths 1 to 9, most of them several times, one of 40; in no order."""
    draw = random.Random(4)
    lengths = [*(draw.randint(1, 9) for _ in range(30)), 40, 1]
    draw.shuffle(lengths)
    return [[draw.randrange(V) for _ in range(length)] for length in lengths]


def alone(model, text):
    """The state of each layer after each token of one text."""
    state, states = model.initial_state(1), []
    with torch.no_grad():
        for index in text:
            _, state = model.step(torch.tensor([index]), state)
            states.append(state)
    return states


@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("layer", [0, 1, None])
def test_final_states_are_those_of_each_text_alone(model, texts, layer, batch_size):
    model.eval()
    found = features(model, texts, layer=layer, batch_size=batch_size)
    at = 1 if layer is None else layer
    assert found.hidden.dtype == torch.float32 and found.hidden.shape == (len(texts), WIDTHS[at])
    assert (found.cell is None) == (not hasattr(model.initial_state(1)[at], "cell"))
    for index, text in enumerate(texts):
        state = alone(model, text)[-1][at]
        torch.testing.assert_close(found.hidden[index], state.hidden[0], **CLOSE)
        if found.cell is not None:
            torch.testing.assert_close(found.cell[index], state.cell[0], **CLOSE)
    assert found.traces == []


@pytest.mark.parametrize("which", ["cell", "hidden", None])
@pytest.mark.parametrize("reset_before", [None, 3])
def test_units_over_time(texts, which, reset_before):
    model = tiny(LSTM).eval()
    model.reset_before = reset_before
    found = features(model, texts, layer=0, units=[4, 1], which=which, batch_size=7)
    for text, trace in zip(texts, found.traces, strict=True):
        wanted = [getattr(state[0], which or "cell")[0, [4, 1]] for state in alone(model, text)]
        torch.testing.assert_close(trace, torch.stack(wanted), **CLOSE)
    # following a unit reads by steps, which changes nothing
    torch.testing.assert_close(found.hidden, features(model, texts, layer=0).hidden, **CLOSE)


def test_the_last_value_of_a_trace_is_the_final_state(model, texts):
    model.eval()
    found = features(model, texts, units=range(WIDTHS[1]))
    last = torch.stack([trace[-1] for trace in found.traces])
    torch.testing.assert_close(last, found.hidden if found.cell is None else found.cell, rtol=0, atol=0)


def test_long_texts_are_read_in_windows(model, texts, monkeypatch):
    wanted = features(model, texts)
    monkeypatch.setattr(importlib.import_module("refrain.generation.features"), "WINDOW_TOKENS", 20)
    sizes = []
    stepper = Stepper(model)
    original = stepper.hidden
    monkeypatch.setattr(stepper, "hidden", lambda ids, state: sizes.append(ids.numel()) or original(ids, state))
    found = features(stepper, texts)
    assert max(sizes) <= len(texts) and sum(sizes) == sum(map(len, texts))
    torch.testing.assert_close(found.hidden, wanted.hidden, **CLOSE)


def test_a_model_in_training_is_read_without_dropout_and_left_in_training(model, texts):
    model.eval()
    wanted = features(model, texts)
    model.train()
    found = features(model, texts)
    torch.testing.assert_close(found.hidden, wanted.hidden, rtol=0, atol=0)
    assert model.training and not found.hidden.requires_grad


def test_no_texts(model):
    found = features(model, [], units=[0])
    assert found.hidden.shape == (0, WIDTHS[1]) and found.traces == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 2}, "layer must be at least 0 and less than 2"),
        ({"layer": -1}, "layer must be at least 0 and less than 2"),
        ({"units": [5]}, r"unit must be at least 0 and less than 5 \(got 5\); layer 0 has 6, layer 1 has 5"),
        ({"units": [-1]}, r"got -1"),
        ({"which": "cell"}, "layer 1 is a GRU, which has a hidden state and no cell state; take 'hidden'"),
    ],
)
def test_what_a_model_does_not_have(options, message):
    with pytest.raises(UserError, match=message):
        features(tiny(GRU), [[1]], **options)


@pytest.mark.parametrize(("texts", "options"), [([[1], []], {}), ([[1]], {"batch_size": 0})])
def test_values_out_of_range(texts, options):
    with pytest.raises(ValueError, match="at least"):
        features(tiny(GRU), texts, **options)


def test_a_part_that_is_not_there():
    found = features(tiny(GRU), [[1]])
    assert found.part("hidden") is found.hidden
    with pytest.raises(ValueError, match="no cell state"):
        found.part("cell")


def test_texts_of_any_form():
    model = tiny(LSTM)
    wanted = features(model, [[1, 2, 3], [4]]).hidden
    for made in (torch.tensor, np.array, tuple):
        assert torch.equal(features(model, [made([1, 2, 3]), made([4])]).hidden, wanted)
    for wrong in ([1, -1], [1.5], torch.tensor([1.0]), "text", 3):
        with pytest.raises(UserError, match="texts: "):
            features(model, [[1], wrong])
