"""Memory that the windows of a layer share."""

import threading
from collections.abc import Sequence

import torch
from torch import Tensor


class BufferPool:
    """Memory that windows share, so that large tensors are not asked of the system and returned in every window.

    A buffer belongs to one window from `take` to `give`; two windows that are open at once have different ones, also
    those of several threads.

    Args:
        keep: how many free buffers are held.
    """

    def __init__(self, keep: int = 10) -> None:
        self._keep = keep
        self._free: list[Tensor] = []
        self._lock = threading.Lock()

    def take(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """An uninitialised tensor of a shape, with type and device of another."""
        count = torch.Size(shape).numel()
        with self._lock:
            fitting = [
                index
                for index, free in enumerate(self._free)
                if free.numel() >= count and free.dtype == like.dtype and free.device == like.device
            ]
            if fitting:
                smallest = min(fitting, key=lambda index: self._free[index].numel())
                return self._free.pop(smallest)[:count].view(*shape)
        return like.new_empty(count).view(*shape)

    def give(self, tensors: Sequence[Tensor]) -> None:
        """Put tensors from `take` back; nobody may read them afterwards."""
        # the whole buffer, of which a tensor may be the beginning
        given = [tensor.new_empty(0).set_(tensor.untyped_storage()) for tensor in tensors]
        with self._lock:
            # those of another type or device are of no use to a layer that was moved
            free = [old for old in self._free if old.dtype == given[0].dtype and old.device == given[0].device]
            self._free = sorted([*free, *given], key=Tensor.numel)[-self._keep :]

    def __reduce__(self) -> tuple[type["BufferPool"], tuple[int]]:
        # a copy begins with memory of its own
        return BufferPool, (self._keep,)
