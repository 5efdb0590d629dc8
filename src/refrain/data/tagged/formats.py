"""The format of a file of tagged sentences, judged by its name and its first lines."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from refrain.errors import DataError

from ..text.words import is_blank
from .columns import Shape, begins_document, columns_parser, is_conll09, is_numbered, rows_of, varies
from .conllu import COLUMNS, conllu_parser, heading_in, tag_column
from .pairs import pair_blocks, pairs_parser, separator_of
from .sentences import Lines, Sentence, blocks_of_lines
from .trees import NAME, begin_as_trees, parse_tree, tree_blocks

CONLLU = (".conllu", ".conll-u")
PLUS = (".conllup", ".cupt")
PACKED = (".gz", ".bz2", ".xz", ".zst")
# what decides the format of a file
HEAD_LINES = 1000
IN_COLUMNS = "columns"
# the lines of prose have different numbers of words, and hardly any line of a table has another number of columns
USUAL_IN_TABLE = 0.8
Underscore = Literal["auto", "missing", "value"]


class Format(NamedTuple):
    """How a file is read.

    Attributes:
        name: the name of the format.
        parse: parses the lines of a sentence; None where they are only comments.
        blocks: cuts lines into those of each sentence.
    """

    name: str
    parse: Callable[[Lines], Sentence | None]
    blocks: Callable[[Iterator[str]], Iterator[Lines]] = blocks_of_lines


class Choice(NamedTuple):
    """What the user has chosen to read.

    Attributes:
        column: the column of the tags: `auto`, the name of a column, or a number counted from 1.
        word_column: the column of the words: `auto` or a number counted from 1.
        underscore: whether the tag `_` means that a word has no annotation.
    """

    column: str = "auto"
    word_column: str = "auto"
    underscore: Underscore = "auto"

    @property
    def missing(self) -> bool | None:
        """Whether the tag `_` is no annotation; None leaves it to the format."""
        return None if self.underscore == "auto" else self.underscore == "missing"


def unpacked_name(name: str) -> str:
    """A name in lower case, without the ending of a compressed file."""
    name = name.lower()
    return next((name.removesuffix(ending) for ending in PACKED if name.endswith(ending)), name)


def format_of(path: str, head: Sequence[str], choice: Choice) -> Format:
    """The format of a file.

    Args:
        path: the path of the file, for its ending and for messages.
        head: the first lines of the file, without their ends.
        choice: what the user has chosen to read.

    Raises:
        DataError: when the file does not have the columns that are chosen.
    """
    columns = conllu_columns(path, head)
    if columns is not None:
        return _conllu(path, columns, choice)
    if begin_as_trees(head):
        if choice.column != "auto" or choice.word_column != "auto":
            raise DataError(f"{path}: data.column: bracketed trees have no columns; leave the setting out")
        return Format(NAME, parse_tree, tree_blocks)
    found = list(blocks_of_lines(iter(head)))
    lines = [line for block in found for line in block.lines if not begins_document(line)]
    if choice.column == choice.word_column == "auto":
        mark = separator_of(lines)
        if mark is not None:
            return Format(f"word{mark}TAG", pairs_parser(mark), pair_blocks(lines))
    return _columns(path, found, choice)


def conllu_columns(path: str, head: Sequence[str]) -> tuple[str, ...] | None:
    """The columns of a file of CoNLL-U or CoNLL-U Plus; None for another file.

    Args:
        path: the path of the file.
        head: the first lines of the file.

    Raises:
        DataError: when the heading of CoNLL-U Plus names no column of words, or a column twice.
    """
    first = ""
    for line in head:
        columns = heading_in(line)
        if columns is not None:
            if "form" not in columns or len(set(columns)) < len(columns):
                raise DataError(f"{path}: global.columns must name the column FORM, and each column once")
            return columns
        if not is_blank(line) and not line.startswith("#"):
            first = line.removesuffix("\r")
            break
    if unpacked_name(path).endswith(PLUS):
        raise DataError(f"{path}: no line '# global.columns = ID FORM ...' before the first sentence; add it")
    return COLUMNS if looks_like_conllu(path, first) else None


def is_prose(head: Sequence[str]) -> bool:
    """Whether the first lines of a text are no table: without tabs, and of different numbers of words.

    Args:
        head: the first lines of the text.
    """
    tabs, sentences = rows_of(list(blocks_of_lines(iter(head))))
    widths = Counter(len(row) for sentence in sentences for row in sentence)
    return not tabs and max(widths.values(), default=0) < USUAL_IN_TABLE * widths.total()


def in_conllu(path: str, head: Sequence[str]) -> bool:
    """Whether a text that may be anything is in CoNLL-U or CoNLL-U Plus.

    Args:
        path: the path of the text.
        head: the first lines of the text.
    """
    try:
        return conllu_columns(path, head) is not None
    except DataError:
        return True


def looks_like_conllu(path: str, line: str) -> bool:
    """Whether a file is CoNLL-U: by its ending, or by a first line of ten columns with the id of a first line.

    Args:
        path: the path of the file.
        line: the first line that is neither blank nor a comment.
    """
    # an empty node such as 0.1 may precede the first word
    return unpacked_name(path).endswith(CONLLU) or (
        re.match(r"(1(-\d+)?|0\.[1-9]\d*)\t([^\t]*\t){8}[^\t]*$", line) is not None
    )


def _conllu(path: str, columns: Sequence[str], choice: Choice) -> Format:
    names = [name for name in columns if name not in ("id", "form")]
    if _number(choice.column) is not None or choice.word_column != "auto":
        setting = "data.column" if _number(choice.column) is not None else "data.word_column"
        remedy = f"choose one of {', '.join(names)}" if setting == "data.column" else "words are the column form"
        raise DataError(f"{path}: {setting}: columns of CoNLL-U go by name here; {remedy}")
    column = "upos" if choice.column == "auto" else choice.column
    try:
        tag_column(column, columns)
    except ValueError as error:
        raise DataError(f"{path}: data.column: {error}") from None
    name = "CoNLL-U" if tuple(columns) == COLUMNS else "CoNLL-U Plus"
    return Format(name, conllu_parser(column, columns, missing=choice.missing))


def _columns(path: str, found: Sequence[Lines], choice: Choice) -> Format:
    tabs, rows = rows_of(found)
    width = len(rows[0][0]) if rows else 0
    number, word = _number(choice.column), _number(choice.word_column)
    if width < 2:
        raise DataError(
            f"{path}: the first line has a single column; expected a word and its tag, with a tab or a blank between"
        )
    if choice.column != "auto" and number is None:
        raise DataError(f"{path}: data.column: columns have no names here; give a number, 2 to {width}, or auto")
    numbered = is_numbered(rows)
    wide = numbered and is_conll09(rows)
    if numbered and width == 2 and word is None:
        raise DataError(
            f"{path}: the first column counts the words, and there is no column of tags; if these numbers are the "
            "words, set data.word_column=1"
        )
    if word is None:
        word = 2 if numbered else 1
    if number is None:
        number = 5 if wide else word + 1
    widest = max(len(row) for block in rows for row in block)
    if not 1 <= word <= widest:
        raise DataError(f"{path}: data.word_column: no column {word} of words; choose 1 to {width}")
    if not 1 <= number <= widest or number == word:
        others = f"1 to {width}, but not {word}" if word > 1 else f"2 to {width}"
        raise DataError(f"{path}: data.column: no column {number} of tags; choose {others}")
    missing = wide if choice.missing is None else choice.missing
    fixed = not (wide or varies(rows))
    shape = Shape(tabs, width, fixed, numbered, word - 1, number - 1, missing)
    return Format("CoNLL-2009" if wide else IN_COLUMNS, columns_parser(shape))


def _number(column: str) -> int | None:
    # a number of thousands of digits is no column, and Python does not read it
    return int(column[:9]) if column.isascii() and column.isdigit() else None
