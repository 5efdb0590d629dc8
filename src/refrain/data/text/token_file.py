"""Token ids on disk: written once, read through a memory map."""

import mmap
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from refrain.errors import DataError
from refrain.storage.regular_files import open_regular

ID_DTYPES = ("uint16", "uint32")
Tokens = npt.NDArray[np.integer]


class TokenSource(Protocol):
    """A sequence of token ids that may be larger than the memory."""

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> Tokens:
        """The ids from `start` up to `stop`, as a slice; the result must not be written to."""
        ...

    def release(self) -> None:
        """Free what was read so far, so that a long pass uses little memory."""
        ...


class TokenFile:
    """Ids in a file or in a part of it, as a memory-mapped array.

    Args:
        path: the file.
        dtype: the type of an id.
        start: the first byte, a multiple of the size of an id.
        stop: one past the last byte; None is the end of the file.
    """

    def __init__(self, path: Path, dtype: npt.DTypeLike, *, start: int = 0, stop: int | None = None) -> None:
        self.path = path
        with open_regular(path) as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._last = len(self._map) if stop is None else stop
        self.tokens: Tokens = np.frombuffer(memoryview(self._map)[start:stop], dtype=dtype)

    def __len__(self) -> int:
        return len(self.tokens)

    def read(self, start: int, stop: int) -> Tokens:
        """A slice of the ids, without a copy.

        Raises:
            DataError: when the file was truncated since it was opened, where the system would end the process.
        """
        if self._map.size() < self._last:
            raise DataError(f"{self.path}: has become shorter since it was opened; put the file back as it was")
        return self.tokens[start:stop]

    def release(self) -> None:
        """Free the pages read so far, so that a long pass uses little memory."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


def id_dtype(vocabulary_size: int) -> np.dtype[np.integer]:
    """The smallest unsigned integer type that can represent every id."""
    return np.dtype(ID_DTYPES[vocabulary_size > 1 << 16])


def write_tokens(path: Path, blocks: Iterable[Tokens]) -> int:
    """Write blocks of ids to a file and return the number of ids."""
    count = 0
    with path.open("wb") as file:
        for block in blocks:
            file.write(block.tobytes())
            count += len(block)
    return count
