"""Memory in large pages, for what is read from one end to the other again and again."""

import contextlib
import math
import mmap
from collections.abc import Sequence

import torch
from torch import Tensor

LARGE = 2 << 20
"""Bytes of a large page, and of the smallest tensor that is given some."""


def in_large_pages(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A tensor of zeros on the CPU, in pages of 2 MB where it is large and the system has them to give.

    A processor looks up the place of each page that it reads, in a virtual machine twice, and prefetches no further
    than to the end of one; in pages of 4 kB both cost time. Linux is asked for larger ones. Elsewhere, and where Linux
    has none to give, the pages are the usual ones.

    Args:
        shape: of the tensor.
        dtype: of the tensor.
    """
    size = math.prod(shape) * dtype.itemsize
    if size < LARGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.zeros(shape, dtype=dtype)
    # whole large pages, with room to begin at the border of one; what is not touched takes no memory
    room = mmap.mmap(-1, (size // LARGE + 2) * LARGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):
        # a kernel may be built without them
        room.madvise(mmap.MADV_HUGEPAGE)
    begin = -torch.frombuffer(room, dtype=torch.uint8).data_ptr() % LARGE
    # the tensor keeps the mapping
    return torch.frombuffer(room, dtype=dtype, count=math.prod(shape), offset=begin).view(*shape)
