"""The probabilities of an n-gram model for the words of a network's vocabulary, which sum to one.

Each word of the vocabulary has its probability by the n-gram model. Words that the n-gram model lacks share that of its
`<unk>` equally. The network's `<unk>` gets what is left: its share of `<unk>`, and the probabilities of all words that
only the n-gram model has. The end of a line is `</s>`, and nothing before a line counts, as in n-gram models of
sentences.

N queries, V words of the vocabulary.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from refrain.data import WordVocabulary
from refrain.data.text.packed import head_of
from refrain.errors import DataError, UserError

from .arpa import is_arpa, read_arpa
from .backoff import NONE, BackoffModel, Floats, Ids

KENLM_START = b"mmap lm http://kheafield.com/code format version"
"""The beginning of a binary file of KenLM."""

BEGIN = -2
"""Stands for the beginning of a line in a context."""

FEW = 16
"""The number of words that only the n-gram model has up to which their probabilities are looked up one by one."""

SPECIAL = {"begin": ("<s>",), "end": ("</s>",), "unknown": ("<unk>", "<UNK>")}


class WordModel(Protocol):
    """An n-gram model over the vocabulary of a network.

    Attributes:
        order: the number of words of the longest n-grams.
    """

    order: int

    def log_probabilities(self, contexts: Ids, words: Ids) -> Floats:
        """The natural log-probabilities (N,) of words after contexts.

        Args:
            contexts: (N, order - 1), ids of the words before in their line, the last one at the end; BEGIN before the
                first, and NONE before that.
            words: (N,), ids.
        """
        ...

    def distribution(self, context: Ids) -> Floats:
        """The natural log-probabilities (V,) of all words after a context (order - 1,)."""
        ...


def read_word_model(path: Path, vocabulary: WordVocabulary) -> WordModel:
    """Read an ARPA file, or a binary file of KenLM if the package `kenlm` is installed.

    Args:
        path: the file.
        vocabulary: the vocabulary of the network.

    Raises:
        DataError: when the file is missing, damaged or something else.
        UserError: when KenLM is not installed.
    """
    if is_arpa(path):
        return ArpaWords(read_arpa(path), vocabulary, path)
    return KenlmWords(path, vocabulary)


def _left(others: Floats) -> float:
    """The logarithm of what probabilities leave of one."""
    left = 1 - float(np.exp(others).sum())
    return math.log(left) if left > 0 else -math.inf


class ArpaWords:
    """An n-gram model that was read from an ARPA file.

    Args:
        model: the n-grams.
        vocabulary: the vocabulary of the network.
        path: the file, for messages.

    Raises:
        DataError: when the model has no `</s>`.
    """

    def __init__(self, model: BackoffModel, vocabulary: WordVocabulary, path: Path) -> None:
        self.order = model.order
        self._model = model
        self._unknown = vocabulary.unknown
        begin, end, unknown = (_first(model.index, names) for names in SPECIAL.values())
        if end is None:
            raise DataError(f"{path}: has no word </s>, with which lines end; train it on lines with ends")
        ids = [model.index.get(word) for word in vocabulary.words]
        ids[vocabulary.line_end] = end
        lacking = [index for index, found in enumerate(ids) if found in (None, begin) or index == self._unknown]
        for index in lacking:
            ids[index] = unknown
        # without <unk>, such words have no probability and no place in a context
        self._ids = np.array([NONE if found is None else found for found in ids])
        self._shares = np.zeros(len(vocabulary))
        self._shares[lacking] = -math.inf if unknown is None else -math.log(len(lacking))
        # the last two entries stand for BEGIN and NONE, which index from the end
        self._in_context = np.array([*self._ids, NONE if begin is None else begin, NONE])
        known = {found for found in ids if found is not None}
        self._others = np.array(sorted(set(range(len(model.words))) - known - {begin}), np.int64)

    def log_probabilities(self, contexts: Ids, words: Ids) -> Floats:
        """See `WordModel`."""
        found = self._model.log_probabilities(self._in_context[contexts], np.maximum(self._ids[words], 0))
        found += self._shares[words]
        rest = np.flatnonzero(words == self._unknown)
        if len(self._others) > FEW:
            for at in rest:
                found[at] = self.distribution(contexts[at])[self._unknown]
            return found
        for other in self._others:
            more = self._model.log_probabilities(self._in_context[contexts[rest]], np.full(len(rest), other))
            found[rest] = np.logaddexp(found[rest], more)
        return found

    def distribution(self, context: Ids) -> Floats:
        """See `WordModel`."""
        every = self._model.distribution(self._in_context[context])
        found: Floats = every[self._ids] + self._shares
        found[self._unknown] = -math.inf
        found[self._unknown] = _left(found)
        return found


class KenlmWords:
    """An n-gram model in a binary file of KenLM.

    KenLM does not list its words, so each `<unk>` of a text costs a query for every other word.

    Args:
        path: the file.
        vocabulary: the vocabulary of the network.

    Raises:
        DataError: when the file is of another kind, or KenLM cannot read it.
        UserError: when the package `kenlm` is not installed.
    """

    def __init__(self, path: Path, vocabulary: WordVocabulary) -> None:
        if not head_of(path).startswith(KENLM_START):
            raise DataError(f"{path}: is neither an ARPA file nor a binary file of KenLM; give one that lmplz wrote")
        try:
            import kenlm
        except ImportError:
            raise UserError(f"{path}: a binary file of KenLM needs the package kenlm; pip install kenlm") from None
        self._kenlm: Any = kenlm
        try:
            self._model: Any = kenlm.Model(str(path))
        except (OSError, RuntimeError) as error:
            cause = " ".join(str(error).split())[-200:]
            raise DataError(f"{path}: KenLM cannot read this binary file ({cause})") from None
        self.order = int(self._model.order)
        self._unknown = vocabulary.unknown
        # what KenLM does not know, it reads as <unk>
        self._words = ["</s>" if index == vocabulary.line_end else word for index, word in enumerate(vocabulary.words)]
        lacking = [
            index
            for index, word in enumerate(self._words)
            if word == "<s>" or word not in self._model or index == self._unknown
        ]
        for index in lacking:
            self._words[index] = "<unk>"
        self._shares = np.zeros(len(self._words))
        self._shares[lacking] = -math.log(len(lacking))

    def log_probabilities(self, contexts: Ids, words: Ids) -> Floats:
        """See `WordModel`."""
        found = np.empty(len(words))
        after = self._kenlm.State()
        for at, (context, word) in enumerate(zip(contexts.tolist(), words.tolist(), strict=True)):
            if word == self._unknown:
                found[at] = self.distribution(contexts[at])[word]
            else:
                found[at] = self._model.BaseScore(self._state(context), self._words[word], after)
                found[at] = found[at] * math.log(10) + self._shares[word]
        return found

    def distribution(self, context: Ids) -> Floats:
        """See `WordModel`."""
        state, after, score = self._state(context.tolist()), self._kenlm.State(), self._model.BaseScore
        found = np.array([score(state, word, after) for word in self._words]) * math.log(10) + self._shares
        found[self._unknown] = -math.inf
        found[self._unknown] = _left(found)
        return found

    def _state(self, context: Sequence[int]) -> Any:
        state, after = self._kenlm.State(), self._kenlm.State()
        if BEGIN in context:
            self._model.BeginSentenceWrite(state)
        else:
            self._model.NullContextWrite(state)
        for word in context:
            if word >= 0:
                self._model.BaseScore(state, self._words[word], after)
                state, after = after, state
        return state


def _first(index: dict[str, int], names: Sequence[str]) -> int | None:
    return next((index[name] for name in names if name in index), None)
