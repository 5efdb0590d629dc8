"""Applying a step along time, and what every recurrent layer promises.

T steps in the window, B sequences, I input width, H hidden width.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from refrain.axes import AxisTable

State = TypeVar("State")


class RecurrentLayer(Protocol[State]):
    """A layer that maps a window and the state before it to outputs and the state after it."""

    input_size: int
    hidden_size: int

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
    if inputs.shape[-1] != layer_input_size:
        raise ValueError(f"inputs have width {inputs.shape[-1]}, the layer expects {layer_input_size}")
    wanted = (inputs.shape[-2], hidden_size)
    for part in state:
        if tuple(part.shape) != wanted:
            raise ValueError(f"the state has shape {tuple(part.shape)}, the inputs need {wanted}")


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
