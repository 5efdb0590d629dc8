"""Counting the words of a text of any size, exactly and in bounded memory.

A process counts words in a table. When it holds too many, it is written to disk as a run and begun anew. The words of
a run are sorted into parts by a hash, so that all counts of a word are in the same part of every run, and the runs are
added up part by part.
"""

import shutil
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import accumulate, chain, count, pairwise
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt

from refrain.errors import DataError

from ...parallel.processes import do_job
from ...text.files import Errors, Piece, Spans, piece_blocks, place_of
from ...text.pieces import pieces_of
from .preparation import Preparation
from .vocabulary import EOS, UNK, encoded_words

TABLE_WORDS = 1_000_000
"""Distinct words that a process counts before it writes them to disk: about 100 MB."""
PARTS = 64
"""Parts of a run. While runs are added up, the words of one part are in memory."""
MOST_WORDS = 10_000_000
"""The largest vocabulary that is made of a text."""

_SPECIAL = (EOS.encode(), UNK.encode())
_RANKS = 1 << 40

Numbers = npt.NDArray[np.int64]


class WordCounts(NamedTuple):
    """The counts of the words of some texts.

    Attributes:
        every: the counts of all of them, in the order of first occurrence.
        train: the counts in the training text.
    """

    every: Counter[str]
    train: Counter[str]


class Limits(NamedTuple):
    """Which words are counted one by one; the others are counted as `<unk>`. See `build_vocabulary`.

    Attributes:
        min_count: the smallest count of a word.
        max_words: the largest number of words.
        words: the only words, or None.
    """

    min_count: int = 1
    max_words: int | None = None
    words: frozenset[str] | None = None


def count_long_texts(
    texts: Mapping[str, Spans],
    errors: Errors,
    preparation: Preparation,
    limits: Limits,
    *,
    folder: Path,
    workers: int | None,
) -> WordCounts:
    """Count the words of texts of any size, with one `<eos>` for each line.

    Args:
        texts: the texts by the names of their splits.
        errors: how invalid UTF-8 is handled.
        preparation: what is done to a text before its words are read.
        limits: which words are counted one by one.
        folder: a folder that is created for runs, and removed.
        workers: the number of processes, see `do_job`.

    Returns:
        The exact counts of the words within the limits. The words that are not are counted as `<unk>`.

    Raises:
        DataError: when a text is not UTF-8, or more than 10 million words are within the limits.
    """
    folder.mkdir()
    groups = {name: list(pieces_of(text, whole_lines=False)) for name, text in texts.items()}
    # the number of the first group after each text
    ends = list(accumulate(map(len, groups.values())))
    settings = {
        "folder": str(folder),
        "errors": errors,
        "preparation": list(preparation),
        "ends": ends,
        "table_words": TABLE_WORDS,
    }
    found = do_job("count", settings, chain.from_iterable(groups.values()), workers=workers)
    runs = [Run(Path(path), text, parts) for path, text, parts in chain.from_iterable(found)]
    try:
        return _added_up(runs, list(texts), limits, place_of(next(iter(texts.values()))))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class WordCounter:
    """The job `count`: counts the words of the pieces of some texts in runs; see `Job` for the methods.

    Args:
        folder: the folder of the runs.
        worker: the number of the process.
        errors: how invalid UTF-8 is handled.
        preparation: what is done to a text before its words are read.
        ends: for each text the number of the first group of pieces after it.
        table_words: a run is written when more words are counted.
    """

    def __init__(
        self,
        folder: Path,
        worker: int,
        errors: Errors,
        preparation: Preparation,
        ends: Sequence[int],
        table_words: int,
    ) -> None:
        self._folder = folder
        self._worker = worker
        self._errors = errors
        self._preparation = preparation
        self._ends = ends
        self._table_words = table_words
        self._counts: Counter[bytes] = Counter()
        # the numbers of groups, each with the number of words that were known when it began
        self._begun: list[tuple[int, int]] = []
        self._written = 0
        self._text = 0
        self._runs: list[list[Any]] = []

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "WordCounter":
        """The job with some settings."""
        named = dict(document)
        return cls(**{**named, "folder": Path(named["folder"]), "preparation": Preparation(*named["preparation"])})

    def work(self, number: int, pieces: tuple[Piece, ...]) -> None:
        """Count the words of a group of pieces."""
        text = next(index for index, end in enumerate(self._ends) if number < end)
        if text != self._text:
            self._write()
            self._text = text
        self._begun.append((number, len(self._counts)))
        for piece in pieces:
            for block in piece_blocks(piece, self._errors, whole_lines=False):
                self._counts.update(encoded_words(self._preparation(block)))
                if len(self._counts) > self._table_words:
                    self._write()
                    self._begun.append((number, 0))

    def finish(self) -> list[list[Any]]:
        """The path of each run, the number of its text, and where its parts are."""
        self._write()
        return self._runs

    def _write(self) -> None:
        words = list(self._counts)
        if not words:
            self._begun = []
            return
        counts: Numbers = np.fromiter(self._counts.values(), np.int64, len(words))
        # groups are in the order of the text, and words of a group in the order of first occurrence
        numbers, starts = np.array(self._begun, np.int64).T
        known = np.diff(np.append(starts, len(words)))
        positions = np.repeat(numbers, known) * _RANKS + self._written + np.arange(len(words))
        parts = np.fromiter(map(crc32, words), np.uint32, len(words)) % PARTS
        order = np.argsort(parts, kind="stable")
        edges = np.searchsorted(parts[order], np.arange(PARTS + 1))
        path = self._folder / f"{self._worker}-{len(self._runs)}.run"
        index = []
        with path.open("wb") as file:
            for start, stop in pairwise(edges):
                chosen = order[start:stop]
                spelled = b"\n".join([words[place] for place in chosen])
                index.append([file.tell(), len(spelled), len(chosen)])
                file.write(spelled)
                file.write(counts[chosen].tobytes())
                file.write(positions[chosen].tobytes())
        self._runs.append([str(path), self._text, index])
        self._written += len(words)
        self._counts = Counter()
        self._begun = []


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

    def read(self, part: int) -> tuple[list[bytes], Numbers, Numbers]:
        """The words of a part, their counts, and where they first occur."""
        offset, size, number = self.parts[part]
        with self.path.open("rb") as file:
            file.seek(offset)
            words = file.read(size).split(b"\n") if number else []
            counts, positions = np.frombuffer(file.read(16 * number), np.int64).reshape(2, number)
        return words, counts, positions


class _Kept(NamedTuple):
    """Words, with their counts in all texts and in the training text, and the position of their first occurrence."""

    words: list[bytes]
    every: Numbers
    train: Numbers
    first: Numbers

    def take(self, chosen: npt.NDArray[np.integer]) -> "_Kept":
        """Some of the words, by their indices."""
        return _Kept(
            [self.words[index] for index in chosen], self.every[chosen], self.train[chosen], self.first[chosen]
        )


def _added_up(runs: Sequence[Run], names: Sequence[str], limits: Limits, place: str) -> WordCounts:
    kept = _Kept([], *np.zeros((3, 0), np.int64))
    total = np.zeros(2, np.int64)
    for part in range(PARTS):
        found = _part(runs, part, names)
        total += found.every.sum(), found.train.sum()
        chosen = found.take(np.flatnonzero(_within(found, limits)))
        kept = _Kept(kept.words + chosen.words, *map(np.concatenate, zip(kept[1:], chosen[1:], strict=True)))
        if limits.max_words is not None and len(kept.words) > 2 * limits.max_words + len(_SPECIAL):
            kept = _most_frequent(kept, limits.max_words)
        if limits.max_words is None and len(kept.words) > MOST_WORDS:
            raise DataError(
                f"{place}: has more than {MOST_WORDS:,} distinct words that occur {limits.min_count} time(s) or more; "
                "read the rarer ones as <unk> with data.min_count=5 or data.max_words=1000000, or read pieces of words "
                "with data.unit=subword"
            )
    kept = kept.take(np.argsort(kept.first))
    words = [word.decode("utf-8", "surrogatepass") for word in kept.words]
    every = Counter(dict(zip(words, kept.every.tolist(), strict=True)))
    train = Counter({word: number for word, number in zip(words, kept.train.tolist(), strict=True) if number})
    for counts, whole, counted in ((every, total[0], kept.every), (train, total[1], kept.train)):
        if rest := int(whole - counted.sum()):
            counts[UNK] += rest
    return WordCounts(every, train)


def _part(runs: Sequence[Run], part: int, names: Sequence[str]) -> _Kept:
    """All words of a part of the runs."""
    index: defaultdict[bytes, int] = defaultdict(count().__next__)
    every, train = np.zeros(0, np.int64), np.zeros(0, np.int64)
    first = np.zeros(0, np.int64)
    for run in runs:
        words, counts, positions = run.read(part)
        # a new word gets the next index
        places = np.fromiter(map(index.__getitem__, words), np.int64, len(words))
        new = len(index) - len(every)
        every, train = (np.append(known, np.zeros(new, np.int64)) for known in (every, train))
        first = np.append(first, np.full(new, np.iinfo(np.int64).max))
        every[places] += counts
        if names[run.text] == "train":
            train[places] += counts
        first[places] = np.minimum(first[places], positions)
    return _Kept(list(index), every, train, first)


def _within(found: _Kept, limits: Limits) -> npt.NDArray[np.bool_]:
    if limits.words is not None:
        words = (word.decode("utf-8", "surrogatepass") in limits.words for word in found.words)
        return np.fromiter(words, np.bool_, len(found.words))
    within = found.every >= limits.min_count
    for special in _SPECIAL:
        if special in found.words:
            within[found.words.index(special)] = True
    return within


def _most_frequent(kept: _Kept, max_words: int) -> _Kept:
    """The words that `build_vocabulary` keeps: UTF-8 is sorted like characters."""
    counts = kept.every.tolist()
    frequent = sorted(
        (index for index, word in enumerate(kept.words) if word not in _SPECIAL),
        key=lambda index: (-counts[index], kept.words[index]),
    )
    special = [index for index, word in enumerate(kept.words) if word in _SPECIAL]
    return kept.take(np.array([*special, *frequent[: max_words - len(_SPECIAL)]], np.int64))
