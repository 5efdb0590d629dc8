"""Adding up runs of word counts, exactly and in the memory of one part and of the words that are kept."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from refrain.errors import DataError, quantity

from .runs import PARTS, Numbers, Run
from .vocabulary import EOS, UNK

MOST_WORDS = 10_000_000
"""The largest vocabulary that is made of a text."""

_SPECIAL = (EOS.encode(), UNK.encode())


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


def add_up(runs: Sequence[Run], names: Sequence[str], limits: Limits, place: str) -> WordCounts:
    """The counts of the words of all runs within the limits; those of the other words are added to `<unk>`.

    Args:
        runs: the runs.
        names: the names of the texts by their numbers.
        limits: which words are counted one by one.
        place: the file of the text, for the message.

    Raises:
        DataError: when more than 10 million words are within the limits.
    """
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
                f"{place}: has more than {MOST_WORDS:,} distinct words that occur at least "
                f"{quantity(limits.min_count, 'time')}; read the rarer ones as <unk> with data.min_count=5 or "
                "data.max_words=1000000, or read pieces of words with data.unit=subword"
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
        words, counts, positions, _ = run.read(part)
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
