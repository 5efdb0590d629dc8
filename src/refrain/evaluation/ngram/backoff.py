"""An n-gram model with back-off, in sorted tables.

Katz (1987), Estimation of probabilities from sparse data for the language model component of a speech recognizer: the
probability of a word w after the words h is that of the n-gram (h, w) where the model lists it, and otherwise the
back-off weight of h times the probability of w after h without its first word. The weight of an h that is not listed is
1. Smoothing by Kneser and Ney is written in the same form.

N queries, L words of an n-gram, V words of the model.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NONE = -1
"""Stands for a word before the beginning of what is known."""

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]


class Table(NamedTuple):
    """The n-grams of L words, in the order of their keys.

    Attributes:
        keys: the number of the n-gram's beginning in the table of L - 1 words, times V, plus its last word; words
            themselves for L = 1.
        log_probabilities: natural logarithms.
        backoffs: natural logarithms of the weights.
    """

    keys: Ids
    log_probabilities: Floats
    backoffs: Floats


class BackoffModel:
    """An n-gram model.

    Args:
        words: the V words; the id of a word is its index.
        tables: the n-grams of 1, 2, ... words.
    """

    def __init__(self, words: Sequence[str], tables: Sequence[Table]) -> None:
        self.words = list(words)
        self.index = {word: number for number, word in enumerate(self.words)}
        self.order = len(tables)
        self._tables = tables

    def numbers(self, ngrams: Ids) -> Ids:
        """The numbers of n-grams (N, L) in their table; NONE for those that are not listed."""
        found = ngrams[:, 0].copy()
        for length in range(2, ngrams.shape[1] + 1):
            found = self._find(length, found, ngrams[:, length - 1])
        return found

    def _find(self, length: int, beginnings: Ids, words: Ids) -> Ids:
        """The numbers of n-grams of a length, from those of their beginnings and their last words."""
        keys = self._tables[length - 1].keys
        wanted = beginnings * len(self.words) + words
        at = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
        listed = (beginnings != NONE) & (words != NONE)
        listed &= keys[at] == wanted if len(keys) else False
        return np.where(listed, at, NONE)

    def log_probabilities(self, contexts: Ids, words: Ids) -> Floats:
        """The natural log-probabilities (N,) of words after contexts.

        Args:
            contexts: (N, order - 1), ids of the words before, the last one at the end; NONE before the first.
            words: (N,), ids.
        """
        found = self._tables[0].log_probabilities[words].copy()
        for length in range(1, self.order):
            before = self.numbers(contexts[:, -length:])
            known = before != NONE
            found[known] += self._tables[length - 1].backoffs[before[known]]
            number = self._find(length + 1, before, words)
            listed = number != NONE
            found[listed] = self._tables[length].log_probabilities[number[listed]]
        return found

    def distribution(self, context: Ids) -> Floats:
        """The natural log-probabilities (V,) of all words after a context (order - 1,)."""
        found = self._tables[0].log_probabilities.copy()
        for length in range(1, self.order):
            before = int(self.numbers(context[None, -length:])[0])
            if before == NONE:
                continue
            found += self._tables[length - 1].backoffs[before]
            table = self._tables[length]
            first, last = np.searchsorted(table.keys, [before * len(self.words), (before + 1) * len(self.words)])
            following = table.keys[first:last] - before * len(self.words)
            found[following] = table.log_probabilities[first:last]
        return found
