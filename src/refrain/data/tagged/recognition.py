"""Whether a text holds tagged sentences or prose, judged by its first lines."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from refrain.errors import DataError

from ..text.packed import text_file
from ..text.words import split_words
from .columns import begins_document, rows_of
from .folders import find_any
from .formats import HEAD_LINES, conllu_columns
from .pairs import separator_of
from .sentences import blocks_of_lines, lines_in
from .trees import begin_as_trees

# lines of prose have different numbers of words
FEWEST_ROWS = 6
USUAL = 0.95
# what is written above a sentence or a document
HEADING = re.compile(r"# ?(sent_id|text) = |#begin document\b")


def looks_tagged(path: Path) -> bool:
    """Whether a file, or the first file of a folder of splits, holds tagged sentences.

    Args:
        path: the file or folder, which may be missing.
    """
    try:
        if path.is_dir():
            path = next(iter(find_any(path).values()))[0]
        return begins_tagged(str(path), list(islice(lines_in(text_file(path), "replace"), HEAD_LINES)))
    except DataError:
        return False


def begins_tagged(path: str, head: Sequence[str]) -> bool:
    """Whether the first lines of a text are those of tagged sentences, in any format that is read.

    Args:
        path: the path of the text, for its ending and for messages.
        head: the first lines of the text.

    Raises:
        DataError: when the heading of CoNLL-U Plus is missing or wrong.
    """
    if begin_as_trees(head) or conllu_columns(path, head) is not None or any(map(begins_document, head)):
        return True
    blocks = list(blocks_of_lines(iter(head)))
    lines = [line for block in blocks for line in block.lines]
    # a line of one word such as `and/or` is no pair of a word and its tag
    if separator_of(lines) and (len(lines) > 1 or len(split_words(lines[0])) > 1):
        return True
    if any(HEADING.match(line) for line in lines):
        return True
    tabs, sentences = rows_of(blocks)
    rows = [row for sentence in sentences for row in sentence]
    ((width, usual),) = Counter(len(row) for row in rows).most_common(1) or [(0, 0)]
    # a mistake in a file does not make prose of it
    if width < 2 or usual < USUAL * len(rows):
        return False
    rows = [row for row in rows if len(row) == width]
    if tabs and _are_texts(rows):
        return False
    return (len(rows) >= FEWEST_ROWS and (tabs or len(sentences) > 1)) or _end_in_tags(rows)


def _are_texts(rows: Sequence[Sequence[str]]) -> bool:
    """Whether a table has texts of several words and their labels, where a table of words has words and tags."""
    return any(sum(len(split_words(cell)) > 1 for cell in column) > len(rows) / 2 for column in zip(*rows, strict=True))


def _end_in_tags(rows: Sequence[Sequence[str]]) -> bool:
    """Whether a few rows end in names in capitals, such as NOUN and B-PER, and do not begin with such names."""
    first, last = ["".join(row[place] for row in rows) for place in (0, -1)]
    named = sum(any(letter.isupper() for letter in row[-1]) for row in rows)
    return len(rows) > 1 and 2 * named > len(rows) and last == last.upper() and first != first.upper()
