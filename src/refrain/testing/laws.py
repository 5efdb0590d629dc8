"""The laws of recurrent layers, one function each. They raise AssertionError where a layer breaks one.

T steps in the window, B sequences, I input width, H hidden width.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from refrain.nn.recurrent.protocol import scan, state_like, state_tensors

from .case import Case, assert_same, recurrent_case, select

Step = Callable[[Tensor, Any], tuple[Tensor, Any]]

LONG_WINDOW = 512
"""Steps of the windows of the protocol `exact`, the longest that evaluation reads."""


def check_window_equals_steps(case: Case, step: Step | None = None) -> None:
    """A window is its steps one after another: outputs, the state after it, and the gradients of everything.

    Args:
        case: as from `recurrent_case`.
        step: maps x (B, I) and a state to an output (B, H) and the next state; the layer's own `step` if not given.

    Raises:
        AssertionError: when something differs, or a parameter has no gradient.
    """
    layer, inputs, state = case
    outputs, after = layer(inputs, state)
    expected, expected_after = scan(step or layer.step, inputs, state)
    assert_same([outputs], [expected], "outputs")
    assert_same(state_tensors(after), state_tensors(expected_after), "the state after the window")
    names, leaves = _leaves(case)
    found = _gradients(outputs, after, leaves)
    others = _gradients(expected, expected_after, leaves)
    for name, one, other in zip(names, found, others, strict=True):
        if (one is None) != (other is None):
            raise AssertionError(f"the gradient of {name}: missing in the {'window' if one is None else 'steps'}")
        if one is None or other is None:
            raise AssertionError(f"the gradient of {name}: missing, nothing depends on it")
        assert_same([one], [other], f"the gradient of {name}")


def _leaves(case: Case) -> tuple[list[str], list[Tensor]]:
    state = state_tensors(case.state)
    parameters = {name: each for name, each in case.layer.named_parameters() if each.requires_grad}
    names = ["inputs", *(f"state tensor {index}" for index in range(len(state))), *parameters]
    return names, [case.inputs, *state, *parameters.values()]


def _gradients(outputs: Tensor, state: Any, leaves: list[Tensor]) -> tuple[Tensor | None, ...]:
    """Gradients under random cotangents: with all-ones weights or a plain sum, swapped gates can go unseen."""
    generator = torch.Generator().manual_seed(2)
    total = outputs.new_zeros(())
    for result in (outputs, *state_tensors(state)):
        total = total + (result * torch.randn(result.shape, generator=generator, dtype=result.dtype)).sum()
    return torch.autograd.grad(total, leaves, allow_unused=True)


def check_two_windows_equal_one(case: Case) -> None:
    """A window may be cut anywhere: what crosses the cut is in the state.

    Args:
        case: as from `recurrent_case`.

    Raises:
        AssertionError: when outputs or the last state differ.
    """
    layer, inputs, state = case
    whole, end = layer(inputs, state)
    for cut in (1, 3):
        first, middle = layer(inputs[:cut], state)
        second, last = layer(inputs[cut:], middle)
        assert_same([torch.cat([first, second])], [whole], f"outputs of a window cut after step {cut}")
        assert_same(state_tensors(last), state_tensors(end), f"the state after a window cut after step {cut}")


def check_batch_entries_are_independent(case: Case) -> None:
    """Each sequence of a batch is computed as if it were alone.

    Args:
        case: as from `recurrent_case`.

    Raises:
        AssertionError: when one sequence changes another.
    """
    layer, inputs, state = case
    whole, after = layer(inputs, state)
    for index in range(inputs.shape[1]):
        entry = slice(index, index + 1)
        own = state_like(layer.initial_state(1), select(state, entry))
        alone, end = layer(inputs[:, entry], own)
        assert_same([alone], [whole[:, entry]], f"outputs of sequence {index} alone")
        assert_same(state_tensors(end), select(after, entry), f"the state of sequence {index} alone")


def check_evaluation_is_deterministic(case: Case) -> None:
    """In evaluation mode a window gives the same outputs each time, to the last bit. The mode is put back.

    Args:
        case: as from `recurrent_case`.

    Raises:
        AssertionError: when two results differ.
    """
    layer, inputs, state = case
    training = layer.training
    layer.eval()
    try:
        with torch.no_grad():
            first, second = layer(inputs, state)[0], layer(inputs, state)[0]
    finally:
        layer.train(training)
    if not torch.equal(first, second):
        raise AssertionError(f"outputs: off by up to {float((first - second).abs().max()):.2g} in a second call")


def check_state_is_passed(case: Case) -> None:
    """Nothing crosses from one call to the next but the state that is returned, and the given state stays as it is.

    Args:
        case: as from `recurrent_case`.

    Raises:
        AssertionError: when the layer keeps something, or changes the tensors that it is given.
    """
    layer, inputs, state = case
    given = [part.detach().clone() for part in state_tensors(state)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        first, after = layer(inputs, state)
        assert_same(state_tensors(state), given, "the given state after the window")
        _check_kind(after, layer.initial_state(inputs.shape[1]))
        layer(inputs.flip(0), after)
        torch.manual_seed(3)
        again, _ = layer(inputs, state)
    assert_same([again], [first], "outputs of the same window after another one")


def _check_kind(after: Any, start: Any) -> None:
    shapes, others = ([tuple(part.shape) for part in state_tensors(each)] for each in (after, start))
    if type(after) is not type(start) or shapes != others:
        raise AssertionError(
            f"the state after a window is a {type(after).__name__} of shapes {shapes}, that of initial_state a "
            f"{type(start).__name__} of {others}"
        )


def check_wrong_shapes_are_refused(case: Case) -> None:
    """Inputs of another width, and a state for another batch, raise an error and are not broadcast.

    Args:
        case: as from `recurrent_case`.

    Raises:
        AssertionError: when such a window is computed.
    """
    layer, inputs, state = case
    steps, batch, width = inputs.shape
    one, more = layer.initial_state(1), layer.initial_state(batch + 1)
    wrong = {
        f"a window of width {width + 4}": (layer, inputs.new_zeros(steps, batch, width + 4), state),
        "a state for a batch of 1": (layer, inputs, one),
        f"a state for a batch of {batch + 1}": (layer, inputs, more),
        f"a step of width {width + 4}": (layer.step, inputs.new_zeros(batch, width + 4), state),
        "a step with a state for a batch of 1": (layer.step, inputs[0], one),
    }
    for what, (call, x, before) in wrong.items():
        try:
            call(x, before)
        except Exception:
            continue
        raise AssertionError(f"{what} was computed, expected an error; see refrain.nn.check_window")


def check_long_window_is_finite(make_layer: Callable[[int, int], Any], *, input_size: int, hidden_size: int) -> None:
    """A window as long as those of evaluation gives finite outputs in float32, as its steps do.

    Products and sums over a whole window, such as those of a parallel scan, can overflow or underflow there.

    Args:
        make_layer: (input_size, hidden_size) -> a layer.
        input_size: I.
        hidden_size: H.

    Raises:
        AssertionError: when an output of the window or a tensor of the state after it is not finite.
    """
    layer, inputs, state = recurrent_case(make_layer(input_size, hidden_size).eval(), steps=LONG_WINDOW)
    layer = layer.float()
    with torch.no_grad():
        outputs, after = layer(inputs.float(), state_like(state, [part.float() for part in state_tensors(state)]))
    wrong = ~outputs.isfinite().flatten(1).all(dim=1)
    if wrong.any():
        raise AssertionError(f"outputs in float32: not finite from step {int(wrong.nonzero()[0])} of {LONG_WINDOW} on")
    if not all(part.isfinite().all() for part in state_tensors(after)):
        raise AssertionError(f"the state after {LONG_WINDOW} steps in float32: not finite")


def check_state_dict_restores_the_layer(
    make_layer: Callable[[int, int], Any], *, input_size: int, hidden_size: int
) -> None:
    """What a checkpoint holds is all that a new layer needs to continue: its parameters, its buffers, and the state.

    Args:
        make_layer: (input_size, hidden_size) -> a layer.
        input_size: I.
        hidden_size: H.

    Raises:
        AssertionError: when a restored layer computes something else, or a copy of the layer does.
    """
    case = recurrent_case(make_layer(input_size, hidden_size).eval())
    layer, inputs, state = case
    expected, _ = layer(inputs, state)
    other = recurrent_case(make_layer(input_size, hidden_size).eval(), seed=9).layer
    stored = {name: tensor.detach().clone() for name, tensor in layer.state_dict().items()}
    other.load_state_dict(stored)
    template = other.initial_state(inputs.shape[1])
    carried = state_like(template, [part.detach().clone() for part in state_tensors(state)])
    assert_same([other(inputs, carried)[0]], [expected], "outputs of a layer restored from its state_dict")
    assert_same([copy.deepcopy(layer)(inputs, state)[0]], [expected], "outputs of a copy")
