"""Figures of words and lines that a user should see before training on them."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from ...corpus import Corpus, Split
from ...text.files import Errors, blocks
from .vocabulary import UNK

LONG_LINE_WORDS = 2000


def word_figures(corpus: Corpus) -> dict[str, dict[str, Any]]:
    """Figures of the lines of each split.

    Returns:
        For each split the number of literal `<unk>`, of empty and of very long lines, and how many of its lines of five
        words and more also occur in `train`.
    """
    train = set(_line_hashes(corpus.splits["train"], corpus.errors)) if "train" in corpus.splits else set()
    found = {}
    for name, split in corpus.splits.items():
        figures = _line_figures(split, corpus.errors)
        if name != "train" and train:
            figures["lines_in_train"] = sum(line in train for line in _line_hashes(split, corpus.errors))
        found[name] = figures
    return found


def _lines(split: Split, errors: Errors) -> Iterator[str]:
    for text in blocks(split.source, errors):
        yield from text.split("\n")[:-1]


def _line_hashes(split: Split, errors: Errors) -> Iterator[int]:
    # short lines repeat in any text; hashes keep a long text's lines in little memory
    return (hash(line) for line in islice(_lines(split, errors), 5_000_000) if len(line.split()) >= 5)


def _line_figures(split: Split, errors: Errors) -> dict[str, Any]:
    empty = long = literal = 0
    for line in _lines(split, errors):
        words = line.split()
        empty += not words
        long += len(words) > LONG_LINE_WORDS
        literal += words.count(UNK)
    return {"literal_unk": literal, "empty_lines": empty, "long_lines": long}
