"""Tagged sentences in columns: each line has a word and its tags, and a blank line ends a sentence.

Columns are separated by tabs, or by blanks as in CoNLL-2000; the first line decides which. With tabs, a word may
contain blanks. Where the first column counts the words of each sentence, as in CoNLL-2009, words are the second column.
Lines `-DOCSTART-` of CoNLL-2003, which begin documents, and comments are no words.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from refrain.errors import quantity

from ..text.words import is_blank, split_words
from .sentences import MISSING, BadSentence, Lines, Sentence

DOCSTART = "-DOCSTART-"
# a comment of the formats of CoNLL, or a note about a document as in CoNLL-2012
COMMENT = re.compile(r"# ?[\w.:-]+ = |# (newdoc|newpar)\b|#(begin|end) document\b")
# `3-4` is a range of words, and `5.1` an empty node; both have no tag
NO_WORD = re.compile(r"\d+[-.]\d+")
# from this number of columns on, a file may have a column more for each predicate of a sentence
PREDICATES = 10
CONLL09 = 14


class Shape(NamedTuple):
    """Where the words and the tags are.

    Attributes:
        tabs: whether columns are separated by tabs instead of blanks.
        width: the number of columns of each line.
        fixed: whether all lines have this width; else only those of a sentence have the same.
        numbered: whether the first column counts the words of each sentence.
        word: the column of the words, counted from 0.
        tag: the column of the tags, counted from 0.
        missing: whether the tag `_` means that the word has no annotation.
    """

    tabs: bool
    width: int
    fixed: bool = True
    numbered: bool = False
    word: int = 0
    tag: int = 1
    missing: bool = False


def columns_parser(shape: Shape) -> Callable[[Lines], Sentence | None]:
    """A function that parses the lines of a sentence in columns; None where it has no words, only comments.

    Args:
        shape: where the words and the tags are.
    """

    def parse(block: Lines) -> Sentence | None:
        words, tags = [], []
        width = shape.width if shape.fixed else 0
        for number, line in block.numbered():
            fields = cells(line, tabs=shape.tabs)
            if begins_document(line) or is_comment(line, len(fields), shape):
                continue
            if shape.numbered and NO_WORD.fullmatch(fields[0]):
                continue
            width = width or len(fields)
            if len(fields) != width:
                where = "the first line of the file" if shape.fixed else "the sentence"
                raise BadSentence(number, f"{quantity(len(fields), 'column')}, where {where} has {width}")
            if width <= max(shape.word, shape.tag):
                of, column = ("words", shape.word) if width <= shape.word else ("tags", shape.tag)
                raise BadSentence(number, f"{quantity(width, 'column')}, but the {of} are in column {column + 1}")
            word, tag = fields[shape.word], fields[shape.tag].strip(" ")
            if is_blank(word) or is_blank(tag):
                raise BadSentence(number, f"the {'word' if is_blank(word) else 'tag'} is empty")
            words.append(word)
            tags.append(MISSING if shape.missing and tag == "_" else tag)
        return Sentence(words, tags, block.first) if words else None

    return parse


def cells(line: str, *, tabs: bool) -> list[str]:
    """The columns of a line.

    Args:
        line: the line without its end.
        tabs: whether columns are separated by tabs instead of blanks.
    """
    return line.split("\t") if tabs else split_words(line)


def begins_document(line: str) -> bool:
    """Whether a line is the `-DOCSTART-` before a document, which is no word."""
    return DOCSTART in line and DOCSTART in split_words(line)[:2]


def is_comment(line: str, width: int, shape: Shape) -> bool:
    """Whether a line is a comment. A row whose word is `#`, as in CoNLL-2000, is none.

    Args:
        line: the line.
        width: the number of its columns.
        shape: the columns of the file.
    """
    if not line.startswith("#"):
        return False
    if shape.numbered or COMMENT.match(line):
        return True
    # a line of another width that begins with a mark and a blank was not meant as a word
    return line.startswith("# ") and width != shape.width and (not shape.tabs or width == 1)


def rows_of(blocks: Sequence[Lines]) -> tuple[bool, list[list[list[str]]]]:
    """The cells of the words in the first sentences of a file, which decide its shape.

    Args:
        blocks: the lines of each sentence.

    Returns:
        Whether columns are separated by tabs, and the cells of each word of each sentence.
    """
    lines = [[line for line in block.lines if not begins_document(line)] for block in blocks]
    words = [[line for line in block if not line.startswith("#")] for block in lines]
    # a file may begin with a word that is a mark
    words = [block for block in words if block] or [block for block in lines if block]
    tabs = any("\t" in line for block in words[:1] for line in block[:1])
    return tabs, [[cells(line, tabs=tabs) for line in block] for block in words]


def is_numbered(rows: Sequence[Sequence[Sequence[str]]]) -> bool:
    """Whether the first column counts the words of most sentences, from 0 or from 1.

    Args:
        rows: the cells of each word of some sentences.
    """
    counts = [[row[0] for row in block if not NO_WORD.fullmatch(row[0])] for block in rows]
    longest = max((len(ids) for ids in counts), default=0)
    return longest > 1 and _most(ids[:1] in (["0"], ["1"]) and _counts(ids) for ids in counts)


def _counts(ids: Sequence[str]) -> bool:
    return all(
        after.isdecimal() and before.isdecimal() and len(after) < 9 and int(after) == int(before) + 1
        for before, after in pairwise(ids)
    )


def _most(found: Iterable[bool]) -> bool:
    """Whether more than half of some answers are yes. A mistake in a file does not change its format."""
    answers = list(found)
    return 2 * sum(answers) > len(answers)


def is_conll09(rows: Sequence[Sequence[Sequence[str]]]) -> bool:
    """Whether most numbered rows are those of CoNLL-2009: at least 14 columns, with two columns of heads.

    Args:
        rows: the cells of each word of some sentences.
    """
    return _most(
        len(row) >= CONLL09 and all(head.isdecimal() or head == "_" for head in row[8:10])
        for block in rows
        for row in block
    )


def varies(rows: Sequence[Sequence[Sequence[str]]]) -> bool:
    """Whether the rows of each sentence have the same width, but not those of all, as in CoNLL-2012.

    Args:
        rows: the cells of each word of some sentences.
    """
    widths = [{len(row) for row in block} for block in rows]
    found = {width for block in widths for width in block}
    return len(found) > 1 and min(found) >= PREDICATES and all(len(block) == 1 for block in widths)
