"""What memory gives at most: as many bytes as a model's weights have, read once, and moved by a copy.

Each is timed in pages of the usual size and in large ones, and the faster of the two counts.
"""

from collections.abc import Callable, Mapping
from functools import cache
from statistics import median
from typing import Any

import torch
from torch import Tensor

from refrain.nn.kernels.pages import in_large_pages

# of the source, and of the target at least: what a copy moves has left the cache before its turn comes again
COPY_BYTES = 128 * 2**20
PAGES = " in large pages"
KINDS: dict[str, Any] = {"": torch.zeros, PAGES: in_large_pages}


def memory_limits(reading: str, copying: str, weight_bytes: int, times: int) -> dict[str, Callable[[], None]]:
    """What to time in turns with the candidates of a bench.

    A pass of reading is the sum of one buffer, by torch, which stays in the cache as far as it fits there. A pass of
    copying reads half of the bytes and writes the other half, another part of two buffers of 128 MiB or more each time.

    Args:
        reading: name of the one.
        copying: name of the other.
        weight_bytes: read in a pass, or read and written; a multiple of 8.
        times: passes of a call.
    """
    calls: dict[str, Callable[[], None]] = {}
    for pages, zeros in KINDS.items():
        calls[reading + pages] = _sums(zeros([weight_bytes // 4], dtype=torch.float32), times)
        source, target = _copied(pages, max(COPY_BYTES, weight_bytes // 2) // 4)
        calls[copying + pages] = _copies(source, target, weight_bytes // 8, times)
    return calls


def faster_pages(seconds: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """The same without those of `memory_limits` that are slower in their pages than in the others.

    Args:
        seconds: of each call, by name, as from `interleaved`.
    """
    kept = dict(seconds)
    for name in seconds:
        if name.endswith(PAGES):
            usual, large = name.removesuffix(PAGES), kept.pop(name)
            kept[usual] = min(kept[usual], large, key=median)
    return kept


def _sums(buffer: Tensor, times: int) -> Callable[[], None]:
    # written once, so that it has memory of its own
    buffer.fill_(1.0)

    def run() -> None:
        for _ in range(times):
            buffer.sum()

    return run


@cache
def _copied(pages: str, entries: int) -> tuple[Tensor, Tensor]:
    zeros = KINDS[pages]
    source, target = (zeros([entries], dtype=torch.float32).fill_(1.0) for _ in range(2))
    return source, target


def _copies(source: Tensor, target: Tensor, entries: int, times: int) -> Callable[[], None]:
    place = 0

    def run() -> None:
        nonlocal place
        for _ in range(times):
            if place + entries > len(source):
                place = 0
            target[place : place + entries].copy_(source[place : place + entries])
            place += entries

    return run
