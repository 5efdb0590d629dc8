"""Token ids on disk: written once, read through a memory map."""

import mmap
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.integer]


class TokenSource(Protocol):
    """Ids in a row that may be longer than the memory."""

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> Tokens:
        """The ids from one place to before another, as a slice would take them; not to be written to."""
        ...

    def release(self) -> None:
        """Let go of what was read so far, so that a long pass keeps little in memory."""
        ...


class TokenFile:
    """Ids in a file, or in a stretch of it, as an array that is read from disk when touched.

    Args:
        path: the file.
        dtype: of one id.
        start: first byte, a multiple of the id's size.
        stop: one past the last byte; None is the file's end.
    """

    def __init__(self, path: Path, dtype: npt.DTypeLike, *, start: int = 0, stop: int | None = None) -> None:
        self.path = path
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.tokens: Tokens = np.frombuffer(memoryview(self._map)[start:stop], dtype=dtype)

    def __len__(self) -> int:
        return len(self.tokens)

    def read(self, start: int, stop: int) -> Tokens:
        """A slice of the ids; nothing is copied."""
        return self.tokens[start:stop]

    def release(self) -> None:
        """Let go of the pages read so far, so that a long pass keeps little in memory."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


def id_dtype(vocabulary_size: int) -> np.dtype[np.integer]:
    """The smallest unsigned type that holds every id."""
    return np.dtype(np.uint16 if vocabulary_size <= 1 << 16 else np.uint32)


def write_tokens(path: Path, blocks: Iterable[Tokens]) -> int:
    """Write blocks of ids one after another; returns how many ids there were."""
    count = 0
    with path.open("wb") as file:
        for block in blocks:
            file.write(block.tobytes())
            count += len(block)
    return count
