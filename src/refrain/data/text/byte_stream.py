"""The bytes of many files as one sequence, read through a bounded number of memory maps."""

from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate

import numpy as np

from refrain.errors import DataError
from refrain.storage.machine import open_files_limit

from .files import Span, Spans
from .token_file import TokenFile, Tokens


class ByteStream:
    """The bytes of parts of files, one after another. Only what is read is copied.

    A file is mapped when it is first read. A fixed number of the most recently used maps are kept, because each of them
    keeps a file open.

    Args:
        spans: the parts of files.
    """

    def __init__(self, spans: Spans) -> None:
        self.spans = spans
        self._starts = list(accumulate((span.stop - span.start for span in spans), initial=0))
        self._file = lru_cache(maxsize=_kept_maps())(lambda index: _map(spans[index]))

    def __len__(self) -> int:
        return self._starts[-1]

    def read(self, start: int, stop: int) -> Tokens:
        """A copy of the bytes from `start` up to `stop`; it keeps no file open.

        Raises:
            DataError: when a file was removed or truncated since it was found.
        """
        stop = min(stop, len(self))
        index = bisect_right(self._starts, start) - 1
        pieces: list[Tokens] = [np.empty(0, np.uint8)]
        while start < stop:
            first = self._starts[index]
            end = min(stop, self._starts[index + 1])
            pieces.append(self._file(index).read(start - first, end - first))
            start = end
            index += 1
        return np.concatenate(pieces)

    def release(self) -> None:
        """Close all maps; the next read maps its file again."""
        self._file.cache_clear()


def _map(span: Span) -> TokenFile:
    try:
        file = TokenFile(span.path, np.uint8, start=span.start, stop=span.stop)
    # an empty file cannot be mapped, which is a ValueError
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{span.path}: cannot be read any more ({reason}); put the file back as it was") from None
    if len(file) != span.stop - span.start:
        raise DataError(f"{span.path}: has become shorter since it was found; put the file back as it was")
    return file


def _kept_maps() -> int:
    """How many files a stream may keep open, so that three splits stay within the limit of the system."""
    allowed = open_files_limit()
    return 256 if allowed is None else min(256, max(4, allowed // 4))
