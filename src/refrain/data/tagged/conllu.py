"""CoNLL-U, the format of Universal Dependencies: ten columns separated by tabs, comments, and a blank line at the end.

See universaldependencies.org/format.html. Words are the lines whose id is a whole number. A multiword token such as
`3-4`, which precedes its words, and an empty node such as `5.1` are not words and have no tag.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from refrain.errors import shown

from .sentences import BadSentence, Lines, Sentence

COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
# an underscore in one of these columns means that the annotation is missing
NEEDED = ("upos", "xpos", "deprel")
RANGE = re.compile(r"[1-9]\d*-[1-9]\d*")
EMPTY_NODE = re.compile(r"\d+\.[1-9]\d*")


class Row(NamedTuple):
    """A word of CoNLL-U.

    Attributes:
        number: the number of the line.
        fields: the ten columns.
    """

    number: int
    fields: list[str]


def words_in(block: Lines) -> list[Row]:
    """The words of a sentence.

    Raises:
        BadSentence: when a line does not have ten columns, a word is empty, or the ids are not 1, 2, 3 and so on.
    """
    rows: list[Row] = []
    for number, line in block.numbered():
        if line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != len(COLUMNS):
            raise BadSentence(number, f"expected 10 columns with tabs between them, found {len(fields)}")
        if RANGE.fullmatch(fields[0]) or EMPTY_NODE.fullmatch(fields[0]):
            continue
        if fields[0] != str(len(rows) + 1):
            after = f"after word {len(rows)}" if rows else "at the first word"
            raise BadSentence(
                number, f"expected the id {len(rows) + 1} {after}, found {shown(fields[0])}; is a blank line missing?"
            )
        if not fields[1].strip():
            raise BadSentence(number, "the word is empty")
        rows.append(Row(number, fields))
    return rows


def conllu_parser(column: str) -> Callable[[Lines], Sentence]:
    """A function that parses the lines of a sentence in CoNLL-U.

    Args:
        column: the column of the tags, one of `COLUMNS`.
    """
    index = COLUMNS.index(column)

    def parse(block: Lines) -> Sentence:
        rows = words_in(block)
        for number, fields in rows:
            if not fields[index].strip() or (column in NEEDED and fields[index] == "_" != fields[1]):
                raise BadSentence(number, f"the word {shown(fields[1])} has no {column}")
        return Sentence([row.fields[1] for row in rows], [row.fields[index] for row in rows], block.first)

    return parse


def conllu_lines(
    words: Sequence[str],
    tags: Sequence[str],
    column: str,
    space_after: Iterable[bool] = (),
    comments: Sequence[str] = (),
) -> list[str]:
    """A tagged sentence as lines of CoNLL-U, including the blank line at its end.

    Args:
        words: words without tabs and newlines.
        tags: one tag for each word.
        column: the column for the tags, one of `COLUMNS`.
        space_after: whether a blank follows each word; empty means after every word.
        comments: lines that begin with `#`.
    """
    index = COLUMNS.index(column)
    spaces = list(space_after) or [True] * len(words)
    lines = list(comments)
    for place, (word, tag, space) in enumerate(zip(words, tags, spaces, strict=True), 1):
        fields = [str(place), word, *["_"] * 7, "_" if space else "SpaceAfter=No"]
        fields[index] = tag
        lines.append("\t".join(fields))
    return [*lines, ""]


def with_tags(block: Lines, tags: Sequence[str], column: str) -> list[str]:
    """The lines of a sentence with new tags in one column and no other change.

    Args:
        block: the lines of the sentence in CoNLL-U.
        tags: one tag for each word.
        column: the column for the tags, one of `COLUMNS`.
    """
    index = COLUMNS.index(column)
    lines = list(block.lines)
    for row, tag in zip(words_in(block), tags, strict=True):
        lines[row.number - block.first] = "\t".join([*row.fields[:index], tag, *row.fields[index + 1 :]])
    return [*lines, ""]
