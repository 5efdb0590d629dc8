"""Memory in large pages, for tensors that are read from one end to the other at every step."""

import contextlib
import math
import mmap
from collections.abc import Sequence

import torch
from torch import Tensor

LARGE = 2 << 20
"""Bytes of a large page, and of the smallest tensor that gets large pages."""


def in_large_pages(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A tensor of zeros on the CPU, in pages of 2 MB if it is large and the system supports them.

    A processor translates the address of each page that it reads, in a virtual machine twice, and prefetches only to
    the end of a page; with pages of 4 kB both cost time. Linux is asked for larger pages. On other systems, and where
    Linux has none left, the pages are the usual ones.

    Args:
        shape: of the tensor.
        dtype: of the tensor.
    """
    size = math.prod(shape) * dtype.itemsize
    if size < LARGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.zeros(shape, dtype=dtype)
    # whole large pages, and one more to align the beginning; pages that are never touched take no memory
    mapping = mmap.mmap(-1, (size // LARGE + 2) * LARGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):
        # Linux may be built without large pages
        mapping.madvise(mmap.MADV_HUGEPAGE)
    begin = -torch.frombuffer(mapping, dtype=torch.uint8).data_ptr() % LARGE
    # the tensor keeps the mapping alive
    return torch.frombuffer(mapping, dtype=dtype, count=math.prod(shape), offset=begin).view(*shape)
