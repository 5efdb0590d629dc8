"""Tagged sentences in columns: each line has a word and its tags, and a blank line ends a sentence.

Columns are separated by tabs, or by blanks as in CoNLL-2000; the first line decides which. With tabs, a word may
contain blanks.
"""

from collections.abc import Callable

from ..text.words import split_words
from .sentences import BadSentence, Lines, Sentence


def columns_parser(column: int, *, tabs: bool, width: int) -> Callable[[Lines], Sentence]:
    """A function that parses the lines of a sentence in columns.

    Args:
        column: the column of the tags, counted from 0.
        tabs: whether columns are separated by tabs instead of blanks.
        width: the number of columns of each line.
    """

    def parse(block: Lines) -> Sentence:
        words, tags = [], []
        for number, line in block.numbered():
            fields = cells(line, tabs=tabs)
            if len(fields) != width:
                raise BadSentence(number, f"{len(fields)} column(s), where the first line of the file has {width}")
            if not fields[0].strip() or not fields[column].strip():
                raise BadSentence(number, f"the {'tag' if fields[0].strip() else 'word'} is empty")
            words.append(fields[0])
            tags.append(fields[column].strip())
        return Sentence(words, tags, block.first)

    return parse


def cells(line: str, *, tabs: bool) -> list[str]:
    """The columns of a line.

    Args:
        line: the line without its end.
        tabs: whether columns are separated by tabs instead of blanks.
    """
    return line.split("\t") if tabs else split_words(line)
