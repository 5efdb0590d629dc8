"""Word corpora: text whose words are encoded once, by a vocabulary that is given or made from the text."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from ...corpus import Corpus
from ...parallel.processes import is_small
from ...text.files import Errors, Spans, blocks
from ..encoded import Encoded, open_encoded_corpus
from .counting import WriteIds, count_long_texts
from .preparation import PLAIN, Preparation
from .totals import Limits, WordCounts
from .vocabulary import UNK, Order, Ties, WordVocabulary, build_vocabulary, word_vocabulary_from, words_of


def open_word_corpus(
    name: str,
    spans: Mapping[str, Spans],
    *,
    vocabulary: WordVocabulary | None = None,
    fixed: WordVocabulary | None = None,
    order: Order = "descending",
    order_seed: int = 1,
    ties: Ties | None = None,
    min_count: int = 1,
    max_words: int | None = None,
    vocabulary_from: Literal["train", "all"] = "train",
    preparation: Preparation = PLAIN,
    errors: Errors = "strict",
    workers: int | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Corpus:
    """A corpus of words, encoded by the first call and found in the cache by the next.

    The key in the cache is the sha256 of text and settings, so a changed text is another corpus.

    Args:
        name: the name of the corpus, for messages.
        spans: the text of each split.
        vocabulary: the vocabulary of an existing model that will read the text; None builds one from the text.
        fixed: the words of the vocabulary that is built, of which only the counts are then taken from the text.
        order: see `build_vocabulary`, as `order_seed`, `min_count` and `max_words`.
        order_seed: see `build_vocabulary`.
        ties: see `build_vocabulary`.
        min_count: see `build_vocabulary`.
        max_words: see `build_vocabulary`.
        vocabulary_from: the splits whose words are counted.
        preparation: what is done to the text before its words are read; the given vocabulary has its own.
        errors: how invalid UTF-8 is handled.
        workers: the number of processes that count and encode the words, on which the corpus does not depend; None is
            the number of processors, at most 8, and one for a text of less than 20 MB.
        log: called with a line of text when the corpus has to be encoded.

    Raises:
        DataError: when a text is not UTF-8, or more than 10 million words would be in the vocabulary.
    """
    making: dict[str, Any] = {"order": order, "order_seed": order_seed, "ties": ties}
    making |= {"min_count": min_count, "max_words": max_words}

    def build(folder: Path) -> Encoded:
        counted = {split: text for split, text in spans.items() if split == "train" or vocabulary_from == "all"}
        if is_small(counted.values(), workers):
            counts = _count(counted, errors, preparation)
            write: dict[str, WriteIds] = {}
        else:
            limits = Limits(min_count, max_words, None if fixed is None else frozenset(fixed.words))
            counts, write = count_long_texts(counted, errors, preparation, limits, folder=folder, workers=workers)
        words = (fixed or build_vocabulary(counts.every, **making)).words
        return Encoded(
            _with_counts(words, counts.train, preparation),
            {split: partial(write_ids, words) for split, write_ids in write.items()},
        )

    tokenised = (preparation if vocabulary is None else vocabulary.preparation).tokenise
    return open_encoded_corpus(
        name,
        spans,
        # apart from what earlier versions made of such texts, whose tokens differ
        subfolder="tokenised-words" if tokenised else "words",
        settings=_settings(vocabulary, fixed, preparation, vocabulary_from, making),
        build=build,
        read=word_vocabulary_from,
        vocabulary=vocabulary,
        errors=errors,
        whole_lines=tokenised,
        workers=workers,
        log=log,
    )


def _settings(
    vocabulary: WordVocabulary | None,
    fixed: WordVocabulary | None,
    preparation: Preparation,
    vocabulary_from: str,
    making: Mapping[str, Any],
) -> dict[str, Any]:
    """What decides the ids besides the text; `making` is the other arguments of `build_vocabulary`."""
    if vocabulary is not None:
        return _settings_of(vocabulary)
    if fixed is not None:
        return {"fixed": _digest(fixed.words), **preparation.document()}
    settings = {name: making[name] for name in ("order", "min_count", "max_words")} | {"from": vocabulary_from}
    more = {"order_seed": making["order_seed"] if making["order"] == "random" else None, "ties": making["ties"]}
    return settings | preparation.document() | {name: value for name, value in more.items() if value is not None}


def _with_counts(words: list[str], counts: Counter[str], preparation: Preparation) -> WordVocabulary:
    """The vocabulary of some words, with their counts in the training text."""
    unknown = counts.total() - sum(counts[word] for word in words if word != UNK)
    frequencies = [unknown if word == UNK else counts[word] for word in words]
    return WordVocabulary(words, preparation, unknown_count=unknown, counts=frequencies)


def _settings_of(vocabulary: WordVocabulary) -> dict[str, Any]:
    """What a given vocabulary decides, with digests for its words and counts."""
    settings = {key: value for key, value in vocabulary.document().items() if key not in ("words", "counts")}
    settings["vocabulary"] = _digest(vocabulary.words)
    # the counts do not decide the ids, but the corpus is opened with them
    if vocabulary.counts is not None:
        settings["counts"] = hashlib.sha256(str(vocabulary.counts).encode()).hexdigest()
    return settings


def _digest(words: list[str]) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


def _count(texts: Mapping[str, Spans], errors: Errors, preparation: Preparation) -> WordCounts:
    """What `count_long_texts` returns for texts of a size that no limits are needed for."""
    counts = {split: count_words([text], errors, preparation) for split, text in texts.items()}
    # words stay in the order of first occurrence
    return WordCounts(sum(counts.values(), Counter()), counts.get("train", Counter()))


def count_words(texts: list[Spans], errors: Errors = "strict", preparation: Preparation = PLAIN) -> Counter[str]:
    """The counts of the words of some texts in the order of first occurrence, with one `<eos>` for each line."""
    counts: Counter[str] = Counter()
    for part in texts:
        for text in blocks(part, errors, whole_lines=preparation.whole_lines):
            counts.update(words_of(preparation(text)))
    return counts
