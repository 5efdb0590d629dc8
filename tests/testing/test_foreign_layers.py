"""A layer from outside the library is judged by the laws: one that keeps them passes, and each law finds its breach."""

from typing import NamedTuple

import pytest
import torch
from torch import nn

from refrain import testing
from refrain.axes import Axis
from refrain.evaluation.perplexity import EXACT_WINDOW
from refrain.nn import MultiplicativeLSTM, check_window, scan
from refrain.testing import laws


class State(NamedTuple):
    hidden: torch.Tensor  # (B, H)


class Elman(nn.Module):
    """A plain recurrent layer (Elman, 1990) that keeps every law."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.weight_ih = nn.Parameter(torch.randn(hidden_size, input_size) / 2)
        self.weight_hh = nn.Parameter(torch.randn(hidden_size, hidden_size) / 2)

    def initial_state(self, batch_size):
        return State(self.weight_hh.new_zeros(batch_size, self.hidden_size))

    def step(self, x, state):
        check_window(self.input_size, self.hidden_size, x, state)
        hidden = (x @ self.weight_ih.T + state.hidden @ self.weight_hh.T).tanh()
        return hidden, State(hidden)

    def forward(self, inputs, state):
        return scan(self.step, inputs, state)

    def axes(self, input_width, hidden_width):
        rows = Axis(hidden_width)
        return {
            "weight_ih": (rows, Axis(input_width, role="reads")),
            "weight_hh": (rows, Axis(hidden_width, role="reads")),
        }


def test_a_layer_that_keeps_the_laws_passes():
    testing.check_recurrent_layer(Elman)
    testing.check_recurrent_layer(Elman, input_size=2, hidden_size=6)


class OtherWindow(Elman):
    def forward(self, inputs, state):
        outputs, after = super().forward(inputs, state)
        return outputs.sin(), after


class OtherState(Elman):
    def forward(self, inputs, state):
        outputs, after = super().forward(inputs, state)
        return outputs, State(after.hidden + 1e-3)


class CutGradient(Elman):
    """Right values, and a gradient that misses the recurrent path."""

    def forward(self, inputs, state):
        outputs = []
        for x in inputs:
            y, state = self.step(x, State(state.hidden.detach()))
            outputs.append(y)
        return torch.stack(outputs), state


class Idle(Elman):
    """A parameter that nothing depends on."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.bias = nn.Parameter(torch.zeros(self.hidden_size))

    def axes(self, input_width, hidden_width):
        return {**super().axes(input_width, hidden_width), "bias": (Axis(hidden_width),)}


class CountsFromTheStart(Elman):
    """Its outputs depend on the index of a step in its window."""

    def forward(self, inputs, state):
        outputs, after = super().forward(inputs, state)
        return outputs + torch.arange(len(inputs), dtype=outputs.dtype)[:, None, None], after


class CentredBatch(Elman):
    def step(self, x, state):
        return super().step(x - x.mean(dim=0), state)


class AlwaysDrops(Elman):
    def step(self, x, state):
        return super().step(nn.functional.dropout(x, 0.5, training=True), state)


class DropsInTraining(Elman):
    def step(self, x, state):
        return super().step(nn.functional.dropout(x, 0.5, training=self.training), state)


class KeepsTheState(Elman):
    kept = None

    def forward(self, inputs, state):
        if self.kept is not None and self.kept.hidden.shape == state.hidden.shape:
            state = self.kept
        outputs, after = super().forward(inputs, state)
        self.kept = State(after.hidden.detach())
        return outputs, after


class ChangesTheState(Elman):
    def forward(self, inputs, state):
        outputs, after = super().forward(inputs, state)
        with torch.no_grad():
            state.hidden.mul_(1.01)
        return outputs, after


class GrowsTheState(Elman):
    def forward(self, inputs, state):
        outputs, after = super().forward(inputs, State(state.hidden[..., : self.hidden_size]))
        return outputs, (after.hidden, after.hidden)


class BroadcastsTheState(Elman):
    def step(self, x, state):
        hidden = (x @ self.weight_ih.T + state.hidden @ self.weight_hh.T).tanh()
        return hidden, State(hidden)


class HidesAWeight(Elman):
    """A weight that no checkpoint holds."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.scale = torch.rand(()).item()

    def step(self, x, state):
        return super().step(self.scale * x, state)


class Underflows(nn.Module):
    """A linear recurrence by cumulative products, which are zero in float32 after some hundred steps."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.weight = nn.Parameter(torch.randn(hidden_size, input_size) / 2)

    def initial_state(self, batch_size):
        return State(self.weight.new_zeros(batch_size, self.hidden_size))

    def step(self, x, state):
        check_window(self.input_size, self.hidden_size, x, state)
        gate = (x @ self.weight.T).sigmoid()
        hidden = (1 - gate) * state.hidden + gate
        return hidden, State(hidden)

    def forward(self, inputs, state):
        check_window(self.input_size, self.hidden_size, inputs, state)
        gate = (inputs @ self.weight.T).sigmoid()
        kept = (1 - gate).cumprod(dim=0)
        outputs = kept * (state.hidden + (gate / kept).cumsum(dim=0))
        return outputs, State(outputs[-1])


class DeclaresTooLittle(Elman):
    def axes(self, input_width, hidden_width):
        return {"weight_ih": super().axes(input_width, hidden_width)["weight_ih"]}


class DeclaresAnotherShape(Elman):
    def axes(self, input_width, hidden_width):
        return {**super().axes(input_width, hidden_width), "weight_ih": (Axis(input_width), Axis(hidden_width))}


class SwapsTheRoles(Elman):
    """The shape of a square matrix does not show which axis reads."""

    def axes(self, input_width, hidden_width):
        swapped = Axis(hidden_width, role="reads"), Axis(hidden_width)
        return {**super().axes(input_width, hidden_width), "weight_hh": swapped}


class Interleaved(Elman):
    """Two gates whose rows alternate, declared as if one lay behind the other."""

    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.weight_ih = nn.Parameter(torch.randn(2 * hidden_size, input_size))

    def step(self, x, state):
        check_window(self.input_size, self.hidden_size, x, state)
        gate, candidate = (x @ self.weight_ih.T).unflatten(-1, (-1, 2)).unbind(-1)
        hidden = (candidate + state.hidden @ self.weight_hh.T).tanh() * gate.sigmoid()
        return hidden, State(hidden)

    def axes(self, input_width, hidden_width):
        rows = Axis(hidden_width, 2), Axis(input_width, role="reads")
        return {**super().axes(input_width, hidden_width), "weight_ih": rows}


BREACHES = [
    (OtherWindow, testing.check_window_equals_steps, "a window equals its steps: outputs"),
    (OtherState, testing.check_window_equals_steps, "a window equals its steps: the state after the window"),
    (CutGradient, testing.check_window_equals_steps, "a window equals its steps: the gradient of inputs"),
    (Idle, testing.check_window_equals_steps, "a window equals its steps: the gradient of bias: missing"),
    (CountsFromTheStart, testing.check_two_windows_equal_one, "two windows equal one: outputs of a window cut"),
    (CentredBatch, testing.check_batch_entries_are_independent, "batch entries are independent: outputs of sequence 0"),
    (AlwaysDrops, testing.check_evaluation_is_deterministic, "evaluation is deterministic: outputs"),
    (KeepsTheState, testing.check_state_is_passed, "the state is passed and never kept: outputs of the same window"),
    (ChangesTheState, testing.check_state_is_passed, "the state is passed and never kept: the given state"),
    (
        GrowsTheState,
        testing.check_state_is_passed,
        r"the state is passed and never kept: .* a tuple of shapes \[\(3, 4\), \(",
    ),
    (BroadcastsTheState, testing.check_wrong_shapes_are_refused, "wrong shapes are refused: a state for a batch of 1"),
]
BUILT = [
    (
        Underflows,
        testing.check_long_window_is_finite,
        "a long window is finite: outputs in float32: not finite from step",
    ),
    (HidesAWeight, testing.check_state_dict_restores_the_layer, "the state dict restores the layer: outputs"),
    (
        DeclaresTooLittle,
        testing.check_axes,
        r"changes nothing else: axes: not declared \['weight_hh'\]",
    ),
    (DeclaresAnotherShape, testing.check_axes, "axes of weight_ih: a length of 4"),
    (SwapsTheRoles, testing.check_axes, "changes nothing else: outputs without unit 0 of the hidden width"),
    (Interleaved, testing.check_axes, "changes nothing else: outputs without unit 0 of the hidden width"),
]


@pytest.mark.parametrize(("broken", "law", "said"), BREACHES, ids=lambda value: getattr(value, "__name__", None))
def test_a_law_finds_the_layer_that_breaks_it(broken, law, said):
    torch.manual_seed(4)
    law(testing.recurrent_case(Elman(5, 4)))
    with pytest.raises(AssertionError, match=said.partition(": ")[2]):
        law(testing.recurrent_case(broken(5, 4)))
    with pytest.raises(AssertionError, match=rf"{broken.__name__} breaks (.|\n)*{said}"):
        testing.check_recurrent_layer(broken)


@pytest.mark.parametrize(("broken", "law", "said"), BUILT, ids=lambda value: getattr(value, "__name__", None))
def test_a_law_of_what_a_layer_declares_finds_the_layer_that_breaks_it(broken, law, said):
    torch.manual_seed(4)
    law(Elman, input_size=5, hidden_size=4)
    with pytest.raises(AssertionError):
        law(broken, input_size=5, hidden_size=4)
    with pytest.raises(AssertionError, match=rf"{broken.__name__} breaks (.|\n)*{said}"):
        testing.check_recurrent_layer(broken)


def test_a_long_window_is_as_long_as_those_of_evaluation():
    assert laws.LONG_WINDOW == EXACT_WINDOW


def test_dropout_in_training_breaks_no_law():
    testing.check_recurrent_layer(DropsInTraining)


def test_axes_may_be_left_out_and_the_rest_may_not():
    class Silent(Elman):
        axes = property()

    testing.check_recurrent_layer(Silent)
    with pytest.raises(AssertionError, match=r"Linear has no input_size, hidden_size, initial_state, step"):
        testing.check_recurrent_layer(nn.Linear)


def test_every_breach_has_a_line_of_its_own():
    class Both(BroadcastsTheState, CutGradient):
        pass

    with pytest.raises(AssertionError) as raised:
        testing.check_recurrent_layer(Both)
    first, *others = str(raised.value).splitlines()
    assert first.startswith("Both breaks 2 of 9 laws") and len(others) == 2


def test_the_laws_leave_the_generator_alone():
    torch.manual_seed(5)
    case = testing.recurrent_case(Elman(5, 4))
    before = torch.get_rng_state()
    testing.check_state_is_passed(case)
    testing.check_window_equals_steps(case)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_width_that_follows_another_must_be_given_a_size():
    testing.check_recurrent_layer(lambda i, h: MultiplicativeLSTM(i, h, intermediate_size=5))
    with pytest.raises(
        AssertionError, match=r"weight_\w+ of the layer without a unit of the hidden width has the shape"
    ):
        testing.check_recurrent_layer(MultiplicativeLSTM)


def test_a_layer_that_fails_in_training_is_reported_by_the_laws():
    class BatchFirst(Elman):
        def forward(self, inputs, state):
            return torch.nn.GRU(self.input_size, self.hidden_size, batch_first=True)(inputs, state.hidden[None])

    with pytest.raises(AssertionError, match=r"BatchFirst breaks \d of 9 laws"):
        testing.check_recurrent_layer(BatchFirst)
