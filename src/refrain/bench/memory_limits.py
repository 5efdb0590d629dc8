"""The limits of memory: the time to read as many bytes as a model's weights have, and the time to copy as many.

Each is timed with memory pages of the usual size and with large ones, and the faster of the two is used.
"""

from collections.abc import Callable, Mapping
from functools import cache
from statistics import median
from typing import Any

import torch
from torch import Tensor

from refrain.nn.kernels.pages import in_large_pages

# the least size of the source and of the target, so that a copied part has left the cache before it is copied again
COPY_BYTES = 128 * 2**20
PAGES = " in large pages"
ALLOCATORS: dict[str, Any] = {"": torch.zeros, PAGES: in_large_pages}


def memory_limits(reading: str, copying: str, weight_bytes: int, times: int) -> dict[str, Callable[[], None]]:
    """Return the calls that measure the limits of memory, to be timed in turns with the candidates.

    A pass of reading is torch's sum of one buffer, which stays in the cache as far as it fits there. A pass of copying
    reads half of the bytes and writes the other half; each pass uses another part of two buffers of at least 128 MiB.

    Args:
        reading: the name of the call that reads.
        copying: the name of the call that copies.
        weight_bytes: the number of bytes that a pass reads, or reads and writes; a multiple of 8.
        times: the number of passes in a call.
    """
    calls: dict[str, Callable[[], None]] = {}
    for pages, zeros in ALLOCATORS.items():
        calls[reading + pages] = _sums(zeros([weight_bytes // 4], dtype=torch.float32), times)
        source, target = _copied(pages, max(COPY_BYTES, weight_bytes // 2) // 4)
        calls[copying + pages] = _copies(source, target, weight_bytes // 8, times)
    return calls


def faster_pages(seconds: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """Keep the faster page size of each call from `memory_limits`, under the name without the page size.

    Args:
        seconds: the times of each call, by name, as returned by `interleaved`.
    """
    kept = dict(seconds)
    for name in seconds:
        if name.endswith(PAGES):
            base = name.removesuffix(PAGES)
            large = kept.pop(name)
            kept[base] = min(kept[base], large, key=median)
    return kept


def _sums(buffer: Tensor, times: int) -> Callable[[], None]:
    # writing once makes the system allocate the pages
    buffer.fill_(1.0)

    def run() -> None:
        for _ in range(times):
            buffer.sum()

    return run


@cache
def _copied(pages: str, entries: int) -> tuple[Tensor, Tensor]:
    zeros = ALLOCATORS[pages]
    source = zeros([entries], dtype=torch.float32).fill_(1.0)
    target = zeros([entries], dtype=torch.float32).fill_(1.0)
    return source, target


def _copies(source: Tensor, target: Tensor, entries: int, times: int) -> Callable[[], None]:
    offset = 0

    def run() -> None:
        nonlocal offset
        for _ in range(times):
            if offset + entries > len(source):
                offset = 0
            target[offset : offset + entries].copy_(source[offset : offset + entries])
            offset += entries

    return run
