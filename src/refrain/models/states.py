"""States of a batch of sequences: chosen, joined and split by sequence."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from refrain.errors import UserError
from refrain.nn.recurrent.protocol import nested_like, state_tensors

from .scorer import AnyStepper


class HasStates(Protocol):
    """What has an initial state: a network or a stepper."""

    def initial_state(self, batch_size: int) -> Any:
        """The state before the first token."""
        ...


def sequence_axes(model: HasStates) -> list[int]:
    """The axis of each tensor of a state along which the sequences of a batch lie.

    It is found by comparing the initial states of two batch sizes, so that a network of one's own may choose any axis.

    Args:
        model: a network or a stepper.

    Raises:
        UserError: when a tensor of the state has no such axis.
    """
    pairs = zip(state_tensors(model.initial_state(2)), state_tensors(model.initial_state(3)), strict=True)
    return [_axis(two, three) for two, three in pairs]


class StateBatch:
    """What a batch of states of a model is: the axis of each tensor along which the sequences lie.

    Args:
        stepper: the model.

    Raises:
        UserError: when a tensor of the state has no such axis.
    """

    def __init__(self, stepper: AnyStepper) -> None:
        self._axes = sequence_axes(stepper)

    def select(self, state: Any, indices: Tensor) -> Any:
        """The states of some sequences, each as often as its index occurs."""
        parts = zip(state_tensors(state), self._axes, strict=True)
        return nested_like(state, [part.index_select(axis, indices.to(part.device)) for part, axis in parts])

    def join(self, states: Sequence[Any]) -> Any:
        """One state of all sequences of several states."""
        parts = zip(*map(state_tensors, states), strict=True)
        return nested_like(states[0], [torch.cat(part, axis) for part, axis in zip(parts, self._axes, strict=True)])

    def split(self, state: Any, count: int) -> list[Any]:
        """The state of each of `count` sequences, of batch size 1; they share the memory of `state`."""
        parts = [part.split(1, axis) for part, axis in zip(state_tensors(state), self._axes, strict=True)]
        return [nested_like(state, [part[index] for part in parts]) for index in range(count)]


def chooses_states(stepper: AnyStepper) -> bool:
    """Whether the states of a model can be chosen by sequence, which a layer of one's own may not allow."""
    try:
        StateBatch(stepper)
    except UserError:
        return False
    return True


def _axis(two: Tensor, three: Tensor) -> int:
    pairs = enumerate(zip(two.shape, three.shape, strict=True))
    axes = [axis for axis, sizes in pairs if sizes == (2, 3)]
    if len(axes) != 1:
        raise UserError(
            f"the state of the network has a tensor of shape {tuple(two.shape)} without an axis for the sequences of a "
            "batch; let initial_state(batch_size) return one of this size"
        )
    return axes[0]
