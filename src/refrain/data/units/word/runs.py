"""Runs of word counts on the disk: the words that a process counted, parted by a hash."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt

PARTS = 64
"""Parts of a run. A word is in the same part of every run, so that runs are added up part by part."""

Numbers = npt.NDArray[np.int64]
_BYTES = 3 * np.dtype(np.int64).itemsize


class RunPart(NamedTuple):
    """The words of a part of a run.

    Attributes:
        words: the words in UTF-8.
        counts: how often each occurs.
        positions: where each first occurs; a word that occurs later has a larger number, in any run.
        ids: the id that each had in the process that counted it, from 0 to the size of the run.
    """

    words: list[bytes]
    counts: Numbers
    positions: Numbers
    ids: Numbers


class Run(NamedTuple):
    """Counts that a process has written.

    Attributes:
        path: the file.
        text: the number of the text.
        parts: for each part its first byte, the number of bytes of its words, and the number of its words.
    """

    path: Path
    text: int
    parts: list[list[int]]

    @property
    def size(self) -> int:
        """The number of distinct words."""
        return sum(number for _, _, number in self.parts)

    def read(self, part: int) -> RunPart:
        """The words of a part, with their numbers."""
        offset, size, number = self.parts[part]
        with self.path.open("rb") as file:
            file.seek(offset)
            words = file.read(size).split(b"\n") if number else []
            return RunPart(words, *np.frombuffer(file.read(_BYTES * number), np.int64).reshape(3, number))


def write_run(path: Path, text: int, words: Sequence[bytes], counts: Numbers, positions: Numbers) -> Run:
    """Write the counts of some words, whose ids are their indices.

    Args:
        path: the file.
        text: the number of the text.
        words: distinct words without line ends.
        counts: how often each occurs.
        positions: where each first occurs.
    """
    parts = np.fromiter(map(crc32, words), np.uint32, len(words)) % PARTS
    order = np.argsort(parts, kind="stable")
    edges = np.searchsorted(parts[order], np.arange(PARTS + 1))
    index = []
    with path.open("wb") as file:
        for start, stop in pairwise(edges):
            chosen = order[start:stop]
            spelled = b"\n".join([words[place] for place in chosen])
            index.append([file.tell(), len(spelled), len(chosen)])
            file.write(spelled)
            for numbers in (counts[chosen], positions[chosen], chosen.astype(np.int64)):
                file.write(numbers.tobytes())
    return Run(path, text, index)
