"""Figures of words and lines that a user should see before training on them."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from ...corpus import Corpus, Split
from ...text.files import Errors, blocks
from ...text.oddities import byte_oddities, text_oddities
from ...text.words import split_words
from .vocabulary import EOS, UNK

LONG_LINE_WORDS = 2000
MOST_LINES = 5_000_000
"""Lines of each split that are compared with those of `train`, which are as many."""
# the end of a line in the files of other toolkits
OTHER_END = "</s>"


def word_figures(corpus: Corpus) -> dict[str, dict[str, Any]]:
    """Figures of the lines of each split.

    Returns:
        For each split the number of literal `<unk>`, of lines that end with a literal `<eos>`, of literal `<eos>`
        elsewhere, of lines that end with `</s>`, of lines that look like JSON, of empty and of very long lines, what
        `byte_oddities` and `text_oddities` count, and how many of its lines of five words and more also occur in
        `train`.
    """
    train = np.unique(_line_hashes(corpus.splits["train"], corpus.errors)) if "train" in corpus.splits else np.empty(0)
    found = {}
    for name, split in corpus.splits.items():
        figures = _line_figures(split, corpus.errors)
        if name != "train" and len(train):
            lines = _line_hashes(split, corpus.errors)
            nearest = np.searchsorted(train, lines).clip(max=len(train) - 1)
            figures["lines_in_train"] = int(np.count_nonzero(train[nearest] == lines))
        found[name] = figures
    return found


def _lines(split: Split, errors: Errors) -> Iterator[tuple[list[str], bool]]:
    """The words of each line, and whether they are all of it: a line may be larger than the memory."""
    for text in blocks(split.source, errors, whole_lines=False):
        *lines, rest = text.split("\n")
        yield from ((split_words(line), True) for line in lines)
        if rest:
            yield split_words(rest), False


def _line_hashes(split: Split, errors: Errors) -> npt.NDArray[np.int64]:
    # short lines repeat in any text; hashes in an array keep a long text's lines in 40 MB
    whole = ((words, ended) for words, ended in islice(_lines(split, errors), MOST_LINES))
    hashes = (hash(" ".join(words)) for words, ended in whole if ended and len(words) >= 5)
    return np.fromiter(hashes, np.int64)


def _line_figures(split: Split, errors: Errors) -> dict[str, Any]:
    names = ("literal_unk", "literal_eos", "eos_in_lines", "other_ends", "json_lines", "empty_lines", "long_lines")
    counts = dict.fromkeys(names, 0)
    length = 0
    for words, ended in _lines(split, errors):
        length += len(words)
        last = words[-1] if words and ended else ""
        counts["literal_unk"] += words.count(UNK)
        counts["literal_eos"] += last == EOS
        counts["eos_in_lines"] += words.count(EOS) - (last == EOS)
        counts["other_ends"] += last == OTHER_END
        counts["json_lines"] += bool(words) and words[0][0] == "{" and last.endswith(("}", "},"))
        if ended:
            counts["empty_lines"] += not length
            counts["long_lines"] += length > LONG_LINE_WORDS
            length = 0
    return counts | byte_oddities(split.source) | text_oddities(split.source, errors)
