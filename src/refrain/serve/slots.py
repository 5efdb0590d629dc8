"""The states of many sequences in one block of memory, from which batches are gathered."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from refrain.models.scorer import AnyStepper
from refrain.models.states import sequence_axes
from refrain.nn.recurrent.protocol import nested_like, state_tensors

FIRST_SLOTS = 64


class Slot:
    """The state of one sequence, which does not change. Its memory is used again when nothing refers to it any more.

    Args:
        free: where the index goes then.
        index: the index of the sequence.
    """

    __slots__ = ("_free", "index")

    def __init__(self, free: list[int], index: int) -> None:
        self._free = free
        self.index = index

    def __del__(self) -> None:
        self._free.append(self.index)


class Slots:
    """Memory for the states of a model. It is used by the model thread alone, and grows when it is full.

    Joining states of single sequences, and dividing the state of a batch into them, would take longer than a step of a
    small model.

    Args:
        stepper: the model.

    Attributes:
        zero: the state before the first token.

    Raises:
        UserError: when a tensor of the state has no axis for the sequences.
    """

    def __init__(self, stepper: AnyStepper) -> None:
        self._axes = sequence_axes(stepper)
        self._template = stepper.initial_state(1)
        self._device = stepper.device
        self._count = 0
        self._free: list[int] = []
        self._parts = [part.narrow(axis, 0, 0) for part, axis in self._each(self._template)]
        (self.zero,) = self.add(self._template, 1)

    def _each(self, state: Any) -> list[tuple[Tensor, int]]:
        return list(zip(state_tensors(state), self._axes, strict=True))

    def _grow(self) -> None:
        """Double the memory."""
        more = max(FIRST_SLOTS, self._count)
        self._parts = [
            torch.cat([part, like.expand(*(more if at == axis else -1 for at in range(like.ndim)))], axis)
            for part, (like, axis) in zip(self._parts, self._each(self._template), strict=True)
        ]
        # the lowest are taken first
        self._free[:0] = range(self._count + more - 1, self._count - 1, -1)
        self._count += more

    def add(self, state: Any, count: int) -> list[Slot]:
        """Keep the state of a batch.

        Args:
            state: the state.
            count: the number of its sequences that are kept, the first ones.

        Returns:
            The state of each sequence.
        """
        while len(self._free) < count:
            self._grow()
        taken = [self._free.pop() for _ in range(count)]
        indices = torch.tensor(taken, device=self._device)
        for part, (values, axis) in zip(self._parts, self._each(state), strict=True):
            part.index_copy_(axis, indices, values.narrow(axis, 0, count))
        return [Slot(self._free, index) for index in taken]

    def gather(self, slots: Sequence[Slot]) -> Any:
        """The state of a batch of some sequences; one may occur several times.

        Args:
            slots: their states.
        """
        indices = torch.tensor([slot.index for slot in slots], device=self._device)
        parts = [part.index_select(axis, indices) for part, axis in zip(self._parts, self._axes, strict=True)]
        return nested_like(self._template, parts)
