"""Applying a step along time, and what every recurrent layer promises.

T steps in the window, B sequences, I input width, H hidden width.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from refrain.axes import AxisTable

State = TypeVar("State")


class RecurrentLayer(Protocol[State]):
    """A layer that maps a window and the state before it to outputs and the state after it.

    The state is a NamedTuple of tensors (B, ...), of which `hidden` and, where there is one, `cell` can be read as
    features of a text; a single tensor counts as `hidden`. A layer from outside the library may leave out `axes` and
    `inner_widths`: it is trained and read as any other, and what needs axes refuses it. `refrain.testing` holds its
    laws.

    Attributes:
        input_size: I.
        hidden_size: H.
        inner_widths: widths beside these two, each of which `axes` takes a name for, as a keyword.
    """

    input_size: int
    hidden_size: int
    inner_widths: tuple[str, ...]

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """inputs (T, B, I) -> outputs (T, B, H) and the state after the last step."""
        ...

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One time step: x (B, I) -> output (B, H) and the next state."""
        ...

    def initial_state(self, batch_size: int) -> State:
        """The state before the first token, for `batch_size` sequences."""
        ...

    def axes(self, input_width: str, hidden_width: str) -> AxisTable:
        """The axes of each parameter, under the width names that the model chose."""
        ...


def scan(step: Callable[[Tensor, State], tuple[Tensor, State]], inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """Apply `step` along time: the slow truth that fast layers are tested against.

    Args:
        step: maps x (B, I) and a state to an output (B, H) and the next state.
        inputs: (T, B, I).
        state: the state before the first step.

    Returns:
        Outputs (T, B, H) and the state after the last step.
    """
    outputs = []
    for x in inputs:
        y, state = step(x, state)
        outputs.append(y)
    return torch.stack(outputs), state


def scan_with_resets(
    layer: Callable[[Tensor, State], tuple[Tensor, State]], inputs: Tensor, state: State, resets: Tensor
) -> tuple[Tensor, State]:
    """A layer over a window in which sequences begin anew: their state is zero before the steps that say so.

    The layer runs over the stretches between such steps, so a transform of its weights is drawn anew for each stretch.

    Args:
        layer: maps a window (T, B, I) and a state to outputs (T, B, H) and the state after.
        inputs: (T, B, I).
        state: the state before the first step.
        resets: (T, B), true where the state is zero before the step.

    Returns:
        Outputs (T, B, H) and the state after the last step.
    """
    edges = sorted({0, *resets.any(dim=1).nonzero().flatten().tolist(), len(inputs)})
    outputs = []
    for first, last in pairwise(edges):
        kept = ~resets[first]
        if not kept.all():
            state = cleared_state(state, kept)
        y, state = layer(inputs[first:last], state)
        outputs.append(y)
    return torch.cat(outputs), state


def cleared_state(state: State, kept: Tensor) -> State:
    """The state with zeros for the sequences that begin anew.

    Args:
        state: tensors (B, ...).
        kept: (B,), false where a sequence begins anew.
    """
    parts = state_tensors(state)
    cleared: State = state_like(state, [part * kept.view(-1, *[1] * (part.ndim - 1)) for part in parts])
    return cleared


def check_window(layer_input_size: int, hidden_size: int, inputs: Tensor, state: Sequence[Tensor]) -> None:
    """Refuse a window that does not fit a layer; library kernels read and write past the end of such tensors.

    Args:
        layer_input_size: I.
        hidden_size: H.
        inputs: (T, B, I), or (B, I) for a step.
        state: tensors (B, H).

    Raises:
        ValueError: when a width or the batch differs.
    """
    if not len(inputs):
        raise ValueError("inputs have no step, or no sequence")
    if inputs.shape[-1] != layer_input_size:
        raise ValueError(f"inputs have width {inputs.shape[-1]}, the layer expects {layer_input_size}")
    wanted = (inputs.shape[-2], hidden_size)
    for part in state:
        if tuple(part.shape) != wanted:
            raise ValueError(f"the state has shape {tuple(part.shape)}, the inputs need {wanted}")


def run_kernel(kernel: Callable[..., Any], *arguments: Any) -> Any:
    """Call a recurrent kernel, torch's or `window_scan`, which `torch.compile` leaves as it is.

    Traced, a kernel becomes its steps one after another, which take minutes to compile and run slower. So a layer
    cannot be compiled with `fullgraph=True`; what stands around the kernel is compiled.

    Args:
        kernel: such as `torch.lstm`.
        arguments: what it takes.
    """
    if torch.compiler.is_dynamo_compiling():
        kernel = torch.compiler.disable(kernel)
    return kernel(*arguments)


def in_one_buffer(weights: Sequence[Tensor]) -> list[Tensor]:
    """Copies of weights that lie one behind the other in a single buffer, gradients included.

    cuDNN wants a layer's weights so, in the order input weight, recurrent weight, biases. Weights that a transform has
    made anew for a window lie anywhere, and cuDNN would gather them in each call, and warn.

    Args:
        weights: in that order.
    """
    buffer = torch.cat([weight.flatten() for weight in weights])
    parts = buffer.split([weight.numel() for weight in weights])
    return [part.view(weight.shape) for part, weight in zip(parts, weights, strict=True)]


def detached(state: Any) -> Any:
    """The same state without its history, whatever the nesting of tuples."""
    if isinstance(state, Tensor):
        return state.detach()
    parts = [detached(part) for part in state]
    return tuple(parts) if type(state) is tuple else type(state)(*parts)


def state_tensors(state: Any) -> list[Tensor]:
    """The tensors of a state, in order."""
    if isinstance(state, Tensor):
        return [state]
    return [tensor for part in state for tensor in state_tensors(part)]


def state_like(template: Any, tensors: Sequence[Tensor]) -> Any:
    """A state of the nesting of `template` that holds `tensors`: the inverse of `state_tensors`.

    Raises:
        ValueError: when the number of tensors or a shape differs from the template's.
    """
    wanted = state_tensors(template)
    if [t.shape for t in wanted] != [t.shape for t in tensors]:
        raise ValueError(
            f"state: expected shapes {[tuple(t.shape) for t in wanted]}, got {[tuple(t.shape) for t in tensors]}"
        )
    remaining = iter(tensors)

    def build(part: Any) -> Any:
        if isinstance(part, Tensor):
            return next(remaining)
        parts = [build(inner) for inner in part]
        return tuple(parts) if type(part) is tuple else type(part)(*parts)

    return build(template)
