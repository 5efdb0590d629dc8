"""Two ways to sum tensors over ranks: through the network, and through memory that ranks on one machine share.

Shared memory takes a fifth of the time that gloo takes on one machine (53 MB between two ranks: 8 ms and 41 ms).
"""

import contextlib
import mmap
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

BLOCK_BYTES = 1 << 23
"""The bytes of a tensor that are summed at once in shared memory."""
LINE = 64
"""The bytes of a cache line; what different ranks write is in different ones."""
SPINS, PAUSE, LONGEST_PAUSE = 200, 5e-5, 2e-3
"""How often a rank looks whether the others are ready before it sleeps between two looks, and for how many seconds it
sleeps at first and at most."""


class Channel(Protocol):
    """Sums and exchanges tensors that have the same shape in every rank, in the same order in every rank."""

    def start_sum(self, tensor: Tensor) -> None:
        """Begin to sum a tensor over the ranks in place; it must not be used before `finish_sums`."""
        ...

    def finish_sums(self) -> None:
        """Wait until all sums are computed, which are the same bits in every rank.

        Raises:
            RuntimeError: when another rank does not answer.
        """
        ...

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Return the tensors of all ranks."""
        ...


class Network:
    """The process group of `torch.distributed`."""

    def __init__(self) -> None:
        self._works: list[Any] = []

    def start_sum(self, tensor: Tensor) -> None:
        """Begin to sum a tensor over the ranks; see `Channel`."""
        self._works.append(dist.all_reduce(tensor, async_op=True))

    def finish_sums(self) -> None:
        """Wait for the sums; see `Channel`."""
        for work in self._works:
            work.wait()
        self._works.clear()

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Return the tensors of all ranks; see `Channel`."""
        found = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(found, tensor.contiguous())
        return found


class SharedMemory:
    """Memory that the ranks of one machine share: each has a block, and there is one for the result.

    A tensor is summed block by block. Each rank copies its part into its block, sums a share of the elements over all
    blocks into the result, and copies the result back. In between, the ranks wait for each other.

    Args:
        rank: the number of this rank.
        size: the number of ranks.
        file: a file descriptor of the memory, of `bytes_for(size)` bytes of zeros.
        is_lost: whether some rank is lost, so that there is nothing to wait for.
    """

    def __init__(self, rank: int, size: int, file: int, is_lost: Callable[[], bool]) -> None:
        self.rank, self.size = rank, size
        self._is_lost = is_lost
        self._map = mmap.mmap(file, bytes_for(size))
        memory = np.frombuffer(self._map, np.uint8)
        self._meetings = memory[: LINE * size].view(np.int64)[:: LINE // 8]
        blocks = torch.from_numpy(memory[LINE * size :]).view(size + 1, BLOCK_BYTES)
        self._blocks, self._result = list(blocks[:size]), blocks[size]
        self._met = 0
        self._tensors: list[Tensor] = []

    def start_sum(self, tensor: Tensor) -> None:
        """Begin to sum a tensor over the ranks; see `Channel`."""
        self._tensors.append(tensor)

    def finish_sums(self) -> None:
        """Wait for the sums; see `Channel`."""
        for tensor in self._tensors:
            for block in tensor.view(-1).split(BLOCK_BYTES // tensor.element_size()):
                self._sum(block)
        self._tensors.clear()

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Return the tensors of all ranks; see `Channel`."""
        flat = tensor.contiguous().view(-1)
        found = [torch.empty_like(flat) for _ in range(self.size)]
        length = BLOCK_BYTES // tensor.element_size()
        for start in range(0, len(flat), length):
            block = flat[start : start + length]
            _part(self._blocks[self.rank], block).copy_(block)
            self._meet()
            for rank, other in enumerate(found):
                other[start : start + length].copy_(_part(self._blocks[rank], block))
            self._meet()
        return [each.view_as(tensor) for each in found]

    def _sum(self, block: Tensor) -> None:
        _part(self._blocks[self.rank], block).copy_(block)
        self._meet()
        share = -(-len(block) // self.size)
        first, last = self.rank * share, min((self.rank + 1) * share, len(block))
        if first < last:
            total = _part(self._result, block)[first:last]
            total.copy_(_part(self._blocks[0], block)[first:last])
            for other in self._blocks[1:]:
                total.add_(_part(other, block)[first:last])
        self._meet()
        block.copy_(_part(self._result, block))

    def _meet(self) -> None:
        """Wait until every rank has come here."""
        self._met += 1
        self._meetings[self.rank] = self._met
        spins = 0
        while (self._meetings < self._met).any():
            spins += 1
            if spins < SPINS:
                os.sched_yield()
                continue
            time.sleep(min(LONGEST_PAUSE, PAUSE * (spins - SPINS + 1)))
            if not spins % 64 and self._is_lost():
                raise RuntimeError("a rank does not come to the meeting in shared memory")


def _part(block: Tensor, like: Tensor) -> Tensor:
    """The beginning of a block of bytes, as elements of the dtype of a flat tensor, and as many of them."""
    return block[: len(like) * like.element_size()].view(like.dtype)


def bytes_for(size: int) -> int:
    """Return the bytes of the memory that a number of ranks share."""
    return LINE * size + (size + 1) * BLOCK_BYTES


def shared_memory(
    rank: int, size: int, hosts: Sequence[str], tell: Callable[[Any], Any], is_lost: Callable[[], bool]
) -> SharedMemory | None:
    """Share memory with the other ranks, or return None in every rank where that is not possible.

    Args:
        rank: the number of this rank.
        size: the number of ranks.
        hosts: the machine of each rank.
        tell: sends plain data to every rank, and returns what each has sent.
        is_lost: whether some rank is lost.
    """
    file, path = -1, None
    # other processors may show what a process writes in another order
    able = len(set(hosts)) == 1 and platform.machine() in ("x86_64", "AMD64") and hasattr(os, "posix_fallocate")
    with contextlib.ExitStack() as stack:
        if able and not rank:
            with contextlib.suppress(OSError):
                file, path = tempfile.mkstemp(prefix="refrain-", dir="/dev/shm")
                stack.callback(Path(path).unlink)
                stack.callback(os.close, file)
                # writing to memory that cannot be had would end the process
                os.posix_fallocate(file, 0, bytes_for(size))
        path = tell(path if file >= 0 and os.fstat(file).st_size == bytes_for(size) else None)[0]
        if path is not None and rank:
            with contextlib.suppress(OSError):
                file = os.open(path, os.O_RDWR)
                stack.callback(os.close, file)
        # nobody goes on before all have opened the file, which then has no name
        if not all(tell(path is not None and file >= 0)):
            return None
        return SharedMemory(rank, size, file, is_lost)
