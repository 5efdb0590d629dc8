"""The bytes of many files in a row, read through memory maps that come and go."""

import resource
from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate

import numpy as np

from refrain.errors import DataError

from .files import Span, Spans
from .token_file import TokenFile, Tokens


class ByteStream:
    """Bytes of stretches of files, one after another. Nothing is copied but what is asked for.

    A file is mapped when it is read from; the maps used last are kept, a fixed number of them, since each holds a file
    open.

    Args:
        spans: the stretches.
    """

    def __init__(self, spans: Spans) -> None:
        self.spans = spans
        self._starts = list(accumulate((span.stop - span.start for span in spans), initial=0))
        self._file = lru_cache(maxsize=_kept_maps())(lambda index: _map(spans[index]))

    def __len__(self) -> int:
        return self._starts[-1]

    def read(self, start: int, stop: int) -> Tokens:
        """A copy of the bytes from one place to before another, which keeps no file open.

        Raises:
            DataError: when a file has gone or become shorter since it was found.
        """
        stop = min(stop, len(self))
        index = bisect_right(self._starts, start) - 1
        pieces: list[Tokens] = [np.empty(0, np.uint8)]
        while start < stop:
            first, end = self._starts[index], min(stop, self._starts[index + 1])
            pieces.append(self._file(index).read(start - first, end - first))
            start, index = end, index + 1
        return np.concatenate(pieces)

    def release(self) -> None:
        """Let go of all maps; the next read maps its file again."""
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
    """How many files a stream may hold open: with three splits, most of what the system allows."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(256, max(4, allowed // 4)) if allowed != resource.RLIM_INFINITY else 256
