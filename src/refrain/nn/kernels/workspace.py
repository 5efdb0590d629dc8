"""Scratch memory of recurrent layers: allocated for one window, then kept for the next."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from itertools import accumulate

import torch
from torch import Tensor

LINE = 64
"""Bytes of a line of the cache, at which a tensor begins."""


class BufferPool:
    """Buffers of a layer that successive windows reuse, as requesting large tensors from the system is slow.

    A buffer belongs to one window from `allocate` to `release`. Windows that are open at the same time, in one thread
    or in several, get different buffers. No thread waits for another: while one uses the list of free buffers, others
    allocate new ones. So a process that was forked at that moment does not wait for a thread that it does not have.

    Args:
        keep: how many free buffers are kept.
    """

    def __init__(self, keep: int = 10) -> None:
        self._keep = keep
        self._free: list[Tensor] = []
        self._lock = threading.Lock()

    def allocate(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """An uninitialised tensor of a shape, with the dtype and the device of another tensor."""
        count = torch.Size(shape).numel()
        with self._unless_in_use() as mine:
            fitting = [
                index
                for index, free in enumerate(self._free if mine else ())
                if free.numel() >= count and free.dtype == like.dtype and free.device == like.device
            ]
            if fitting:
                smallest = min(fitting, key=lambda index: self._free[index].numel())
                return self._free.pop(smallest)[:count].view(*shape)
        return like.new_empty(count).view(*shape)

    def release(self, tensors: Sequence[Tensor]) -> None:
        """Return tensors from `allocate`, which must not be read afterwards."""
        # the whole buffer, of which a tensor may be the beginning
        buffers = [tensor.new_empty(0).set_(tensor.untyped_storage()) for tensor in tensors]
        first = buffers[0]
        with self._unless_in_use() as mine:
            if not mine:
                return
            # after a layer was moved, buffers of its former dtype or device are useless
            free = [old for old in self._free if old.dtype == first.dtype and old.device == first.device]
            self._free = sorted([*free, *buffers], key=Tensor.numel)[-self._keep :]

    @contextlib.contextmanager
    def _unless_in_use(self) -> Iterator[bool]:
        """Take the list of free buffers, unless another thread has it."""
        mine = self._lock.acquire(blocking=False)
        try:
            yield mine
        finally:
            if mine:
                self._lock.release()

    def __reduce__(self) -> tuple[type["BufferPool"], tuple[int]]:
        # a copy starts without buffers
        return BufferPool, (self._keep,)


class Workspace:
    """Scratch memory of one window, for tensors of any dtype.

    Args:
        pool: the layer's buffers.
        like: a tensor on the device whose dtype is at least as wide as those that are allocated.

    Attributes:
        released: whether `release` was called.
    """

    def __init__(self, pool: BufferPool, like: Tensor) -> None:
        self._pool = pool
        self._like = like
        self._allocated: list[Tensor] = []
        self.released = False

    def allocate(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """An uninitialised tensor of a shape and a dtype, valid until `release`."""
        count = torch.Size(shape).numel()
        entries = -(-count * dtype.itemsize // self._like.dtype.itemsize)
        buffer = self._pool.allocate((entries,), self._like)
        self._allocated.append(buffer)
        return buffer.view(dtype)[:count].view(*shape)

    def allocate_all(self, *requested: tuple[Sequence[int], torch.dtype]) -> list[Tensor]:
        """Uninitialised tensors of shapes and dtypes, in one buffer, valid until `release`."""
        sizes = [torch.Size(shape).numel() * dtype.itemsize for shape, dtype in requested]
        # each begins at a line of the cache
        offsets = list(accumulate((-(-size // LINE) * LINE for size in sizes), initial=0))
        buffer = self._pool.allocate((-(-offsets[-1] // self._like.dtype.itemsize),), self._like)
        self._allocated.append(buffer)
        whole = {dtype: buffer.view(dtype) for _, dtype in requested}
        return [
            whole[dtype][offset // dtype.itemsize : (offset + size) // dtype.itemsize].view(*shape)
            for (shape, dtype), offset, size in zip(requested, offsets[:-1], sizes, strict=True)
        ]

    def cast(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        """A contiguous copy of a tensor in another dtype; the tensor itself if it is that already."""
        if tensor.dtype == dtype:
            return tensor.contiguous()
        return self.allocate(tensor.shape, dtype).copy_(tensor)

    def another(self) -> "Workspace":
        """Scratch memory from the same buffers, which is released on its own."""
        return Workspace(self._pool, self._like)

    def release(self) -> None:
        """Return all memory; the tensors must not be read afterwards."""
        if self._allocated:
            self._pool.release(self._allocated)
        self._allocated = []
        self.released = True


def check_single_backward(workspace: Workspace, name: str) -> None:
    """Raise if backward runs twice over a window, or with create_graph=True.

    Args:
        workspace: of the window.
        name: of the layer.

    Raises:
        RuntimeError: when the window's memory was released, or a graph of the gradient is requested.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            f"{name}: its kernels have no second derivative; call backward without create_graph, or compute the window "
            "with refrain.nn.scan(layer.step, inputs, state)"
        )
    if workspace.released:
        raise RuntimeError(
            f"{name}: this window's memory was released by an earlier backward pass; call the layer again"
        )
