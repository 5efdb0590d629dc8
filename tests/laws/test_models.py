"""What every model keeps: the declared axes are true, windows join, one step is a window of one."""

import json
import pathlib

import pytest
import torch
from table import MODELS, B, T, V

from refrain.models import LanguageModel, widths
from refrain.nn import LSTM, Embedding, RecurrentStack, SoftmaxHead

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "state_dicts.json"


@pytest.fixture
def window():
    ids = torch.randint(V, (T + 1, B), generator=torch.Generator().manual_seed(6))
    return ids[:-1], ids[1:]


def nats(model, window):
    return model.token_nats(*window, model.initial_state(B))[0]


def test_every_parameter_is_declared_and_fits(model):
    sizes = model.widths()
    assert sizes["vocabulary"] == V
    assert set(model.axes()) == {name for name, _ in model.named_parameters()}


def test_permuting_the_units_of_any_width_changes_nothing(model, window):
    wanted = nats(model, window)
    for width, size in model.widths().items():
        order = torch.randperm(size, generator=torch.Generator().manual_seed(7))
        select(model, width, order)
        if width == "vocabulary":
            # the token that was order[k] is now k
            place = order.argsort()
            torch.testing.assert_close(nats(model, (place[window[0]], place[window[1]])), wanted)
            select(model, width, place)
        else:
            torch.testing.assert_close(nats(model, window), wanted)


def select(model, width, order):
    """Reorder the units of a width along every declared axis, in place."""
    size = model.widths()[width]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            for dimension, axis in enumerate(model.axes()[name]):
                if axis.width == width:
                    index = torch.cat([order + copy * size for copy in range(axis.copies)])
                    parameter.copy_(parameter.index_select(dimension, index))


def test_a_wrong_declaration_is_found(model):
    table = model.axes()
    with pytest.raises(ValueError, match="not declared"):
        widths(dict(model.named_parameters()), {"nothing": ()})
    swapped = {**table, "embedding.weight": table["embedding.weight"][::-1]}
    with pytest.raises(ValueError, match="width"):
        widths(dict(model.named_parameters()), swapped)


def test_loss_is_the_sum_of_token_nats(model, window):
    loss = model(*window, model.initial_state(B))
    torch.testing.assert_close(loss.nats, nats(model, window).sum())


def test_two_windows_equal_one(model, window):
    inputs, targets = window
    first, middle = model.token_nats(inputs[:3], targets[:3], model.initial_state(B))
    second, _ = model.token_nats(inputs[3:], targets[3:], middle)
    torch.testing.assert_close(torch.cat([first, second]), nats(model, window))


def test_steps_equal_the_window(model, window):
    inputs, targets = window
    state, costs = model.initial_state(B), []
    for ids, wanted in zip(inputs, targets, strict=True):
        log_probabilities, state = model.step(ids, state)
        costs.append(-log_probabilities.gather(1, wanted[:, None])[:, 0])
    torch.testing.assert_close(torch.stack(costs), nats(model, window))


def test_dropout_acts_in_three_places_in_training_and_nowhere_in_evaluation(window):
    class Count(torch.nn.Module):
        def __init__(self, shapes):
            super().__init__()
            self.shapes = shapes

        def forward(self, x):
            if self.training:
                self.shapes.append(tuple(x.shape))
            return x

    shapes = []
    model = LanguageModel(
        Embedding(V, 5),
        RecurrentStack([LSTM(5, 4), LSTM(4, 6)], between=Count(shapes)),
        SoftmaxHead(6, V),
        embedding_dropout=Count(shapes),
        output_dropout=Count(shapes),
    )
    model(*window, model.initial_state(B))
    assert shapes == [(T, B, 5), (T, B, 4), (T, B, 6)]
    model.eval()
    model(*window, model.initial_state(B))
    assert len(shapes) == 3


def test_state_dict_names_and_shapes_are_those_of_the_committed_file():
    """Names are part of the API. When a change means to alter them, the file and the changelog change with it."""
    found = {
        name: {key: list(tensor.shape) for key, tensor in build().state_dict().items()}
        for name, build in MODELS.items()
    }
    assert found == json.loads(GOLDEN.read_text())
