"""Tagged sentences in columns: a word a line with its tags, a blank line after each sentence.

Columns have tabs between them, or blanks as in CoNLL-2000; which of the two, the first line decides. With tabs, a word
may hold blanks.
"""

from collections.abc import Callable

from .sentences import BadSentence, Lines, Sentence


def columns_parser(column: int, *, tabs: bool, width: int) -> Callable[[Lines], Sentence]:
    """Makes sentences of lines of columns.

    Args:
        column: where the tags stand, counted from 0.
        tabs: whether columns have tabs between them.
        width: how many columns each line has.
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
        line: without its end.
        tabs: whether columns have tabs between them; else blanks.
    """
    return line.split("\t") if tabs else line.split()
