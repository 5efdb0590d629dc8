"""The step graph of a model computes what the model computes, and a part that does not describe itself is refused."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from table import MODELS, RECURRENT, SEGMENTED, UNLIKE, H, I, V
from torch import Tensor, nn

from refrain.errors import UserError
from refrain.models import LanguageModel, Stepper
from refrain.models.step_graph import step_graph
from refrain.nn import (
    LSTM,
    Embedding,
    LockedDropout,
    RecurrentStack,
    SoftmaxHead,
    WeightDropout,
    WeightNorm,
)
from refrain.nn.recurrent.protocol import state_tensors
from refrain.nn.step_graph import run_step

EVERY = {**MODELS, **UNLIKE, **SEGMENTED}
BATCH = 3


def drawn(model, dtype=torch.float64):
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.7)
    return model.to(dtype).eval()


def steps_of(graph, ids, states):
    """Log-probabilities (T, B, V) of ids (T, B) by the interpreter, and the states after them."""
    found = []
    for row in ids.numpy():
        log_probabilities, states = run_step(graph, row, states)
        found.append(log_probabilities)
    return np.stack(found), states


@pytest.mark.parametrize("reset", [None, 3])
@pytest.mark.parametrize("name", EVERY)
def test_a_step_graph_computes_the_windows_of_its_model(name, reset):
    model = drawn(EVERY[name]())
    model.reset_before = reset
    graph = step_graph(model)
    ids = torch.randint(V, (12, BATCH), generator=torch.Generator().manual_seed(2))
    state = model.initial_state(BATCH)
    states = [np.tile(each.initial, (BATCH, 1)) for each in graph.states]
    assert [each.size for each in graph.states] == [part.shape[1] for part in state_tensors(state)]
    for window in ids.split(6):
        outputs, state = model.hidden(window, state)
        expected = model.head.log_probabilities(outputs.dropped)
        found, states = steps_of(graph, window, states)
        np.testing.assert_allclose(found, expected.detach(), rtol=0, atol=1e-12)
        for one, other in zip(states, state_tensors(state), strict=True):
            np.testing.assert_allclose(one, other.detach(), rtol=0, atol=1e-12)


def test_a_step_graph_computes_what_the_stepper_computes():
    model = drawn(MODELS["tied"](), torch.float32)
    graph, stepper = step_graph(model), Stepper(model)
    state = stepper.initial_state(BATCH)
    states = [part.numpy() for part in state_tensors(state)]
    for ids in torch.randint(V, (5, BATCH), generator=torch.Generator().manual_seed(2)):
        expected, state = stepper.step(ids, state)
        found, states = run_step(graph, ids.numpy(), states)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_a_shared_matrix_is_one_weight():
    graph = step_graph(EVERY["tied"]())
    assert "head.weight" not in graph.weights
    assert sum(array.size for array in graph.weights.values()) == sum(p.numel() for p in EVERY["tied"]().parameters())


def test_weight_norm_and_weight_drop_become_plain_weights():
    transform = nn.Sequential(WeightNorm(4 * H), WeightDropout(0.5))
    layer = LSTM(I, H, recurrent_transform=transform)
    model = drawn(LanguageModel(Embedding(V, I), RecurrentStack([layer]), SoftmaxHead(H, V)))
    model.embedding_dropout = LockedDropout(0.5)
    model.train()
    graph = step_graph(model)
    assert all(module.training for module in model.modules())
    assert set(graph.weights) == {
        "embedding.weight",
        "head.bias",
        "head.weight",
        *(f"stack.layers.0.{name}" for name in ("weight_ih", "weight_hh", "bias")),
    }
    expected, _ = model.eval().step(torch.tensor([2]), model.initial_state(1))
    found, _ = run_step(graph, np.array([2]), [np.zeros((1, H)), np.zeros((1, H))])
    np.testing.assert_allclose(found, expected.detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", RECURRENT)
def test_every_layer_of_the_library_describes_its_step(name):
    assert "describe" in vars(type(RECURRENT[name]())), f"{name} needs a method describe; see CONTRIBUTING.md"


class UnitState(NamedTuple):
    hidden: Tensor
    before: Tensor


def unit_step(x, state, w_ih, w_hh, bias):
    """A minimal gated unit that also sees the hidden state of two steps ago, and multiplies parts of a weight."""
    forget_x, candidate_x = (x @ w_ih.T + bias).chunk(2, dim=-1)
    forget_h, candidate_h = w_hh.chunk(2)
    forget = (forget_x + state.hidden @ forget_h.T).sigmoid()
    candidate = (candidate_x + (forget * state.before) @ candidate_h.T - 0.5 * x.relu()).tanh()
    hidden = (1 - forget) * state.hidden + forget * candidate
    return hidden, UnitState(hidden, state.hidden)


class Unit(nn.Module):
    """A layer from outside, without a description."""

    def __init__(self, size):
        super().__init__()
        self.input_size = self.hidden_size = size
        self.w_ih = nn.Parameter(torch.randn(2 * size, size))
        self.w_hh = nn.Parameter(torch.randn(2 * size, size))
        self.bias = nn.Parameter(torch.randn(2 * size))

    def initial_state(self, batch_size):
        start = torch.linspace(-1, 1, self.hidden_size).expand(batch_size, -1).to(self.bias)
        return UnitState(start, -start)

    def step(self, x, state):
        return unit_step(x, state, self.w_ih, self.w_hh, self.bias)

    def forward(self, inputs, state):
        outputs = []
        for x in inputs:
            y, state = self.step(x, state)
            outputs.append(y)
        return torch.stack(outputs), state


class DescribedUnit(Unit):
    """The same layer with one."""

    def describe(self, build, x, state):
        weights = {"w_ih": self.w_ih, "w_hh": self.w_hh, "bias": self.bias}
        return build.cell("Unit", unit_step, x, state, weights)


def around(*layers):
    return LanguageModel(Embedding(V, H), RecurrentStack(layers), SoftmaxHead(H, V))


def test_a_cell_from_outside_describes_itself_by_its_step():
    model = drawn(around(DescribedUnit(H), LSTM(H, H)))
    graph = step_graph(model)
    assert [state.name for state in graph.states[:2]] == ["layer0_hidden", "layer0_before"]
    ids = torch.arange(8)[:, None]
    outputs, _ = model.hidden(ids, model.initial_state(1))
    found, _ = steps_of(graph, ids, [state.initial[None] for state in graph.states])
    np.testing.assert_allclose(found, model.head.log_probabilities(outputs.dropped).detach(), rtol=0, atol=1e-12)


class ChangedUnit(DescribedUnit):
    def step(self, x, state):
        y, after = super().step(x, state)
        return 2 * y, after


class LargeState(DescribedUnit):
    def initial_state(self, batch_size):
        return torch.zeros(batch_size, 2, H)

    def describe(self, build, x, state):
        raise NotImplementedError


class Noise(nn.Dropout):
    pass


class Own(LanguageModel):
    def hidden(self, inputs, state):
        return super().hidden(inputs, state)


REFUSED = {
    "no description": (lambda: around(LSTM(H, H), Unit(H)), r"stack.layers.1 \(Unit\).*no method describe"),
    "a changed layer": (lambda: around(ChangedUnit(H)), r"stack.layers.0 \(ChangedUnit\).*of its own"),
    "a state of three axes": (lambda: around(LargeState(H)), r"LargeState.*'batch', 2, 4"),
    "an own network": (lambda: nn.Linear(1, 1), "Linear.*LanguageModel"),
    "overridden methods": (lambda: Own(Embedding(V, H), RecurrentStack([LSTM(H, H)]), SoftmaxHead(H, V)), "overrides"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_describe_itself_is_refused_by_name(case):
    make, message = REFUSED[case]
    with pytest.raises(UserError, match=message):
        step_graph(make())


def test_modules_between_the_layers_are_refused_unless_they_are_dropout():
    model = around(LSTM(H, H))
    model.output_dropout = Noise(0.1)
    model.embedding_dropout = nn.Sequential(nn.Dropout(0.1), nn.Tanh())
    with pytest.raises(UserError) as raised:
        step_graph(model)
    assert [mistake.partition(":")[0] for mistake in raised.value.mistakes] == [
        "embedding_dropout (Sequential)",
        "output_dropout (Noise)",
    ]


def test_a_layer_whose_method_was_replaced_is_refused():
    model = around(LSTM(H, H))
    model.stack.layers[0].forward = lambda inputs, state: (inputs, state)
    with pytest.raises(UserError, match=r"stack.layers.0 \(LSTM\)"):
        step_graph(model)
