"""Tagged sentences in files: blocks of lines separated by blank lines, each parsed by the function of its format."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from refrain.errors import DataError, InvalidUTF8Error

from ..text.files import Errors, Spans, blocks
from ..text.forms import ESCAPED, invalid_remedy
from ..text.words import is_blank

# the tag of a word that has no annotation
MISSING = ""


class Sentence(NamedTuple):
    """A sentence with its tags.

    Attributes:
        words: the words as they are spelled.
        tags: one tag for each word; `MISSING` where a word has no annotation.
        line: the line of the file where the sentence begins, counted from 1.
    """

    words: Sequence[str]
    tags: Sequence[str]
    line: int


class BadSentence(Exception):
    """A sentence that cannot be used.

    Args:
        line: the line of the file with the mistake.
        cause: what is wrong.
    """

    def __init__(self, line: int, cause: str) -> None:
        super().__init__(cause)
        self.line = line
        self.cause = cause


class _BadBytes(BadSentence):
    """A sentence with invalid UTF-8."""


class Lines(NamedTuple):
    """The lines of one sentence, and the number of the first."""

    first: int
    lines: list[str]

    def numbered(self) -> Iterator[tuple[int, str]]:
        """Each line with its number."""
        return enumerate(self.lines, self.first)


def blocks_of_lines(lines: Iterator[str]) -> Iterator[Lines]:
    """The blocks of lines that are separated by blank lines."""
    block = Lines(1, [])
    for number, line in enumerate(lines, 1):
        line = line.removesuffix("\r")
        if not is_blank(line):
            block.lines.append(line)
            continue
        if block.lines:
            yield block
        block = Lines(number + 1, [])
    if block.lines:
        yield block


def lines_in(spans: Spans, errors: Errors) -> Iterator[str]:
    """The lines of a text without their ends; with `strict`, invalid UTF-8 is returned as surrogate escapes."""
    for text in blocks(spans, "surrogateescape" if errors == "strict" else errors):
        yield from text.split("\n")[:-1]


def read_sentences(
    path: Path,
    found: Iterator[Lines],
    parse: Callable[[Lines], Sentence | None],
    *,
    max_tokens: int,
    skipped: list[str] | None = None,
    can_skip: bool = True,
    plain: bool = False,
) -> Iterator[Sentence]:
    """The sentences of a file.

    Args:
        path: the path of the file, for messages.
        found: the lines of each sentence.
        parse: converts lines to a sentence, to None where they are only comments, or raises `BadSentence`.
        max_tokens: the largest number of words of a sentence.
        skipped: a message is appended for each bad sentence, which is then left out; None raises at the first one.
        can_skip: whether the user can have them left out, which the message then says.
        plain: whether the file looks like plain text, which the message then says instead.

    Raises:
        DataError: for a bad sentence, with the file and the line; an `InvalidUTF8Error` for invalid UTF-8.
    """
    for block in found:
        try:
            sentence = _read(block, parse, max_tokens)
            if sentence is not None:
                yield sentence
        except BadSentence as bad:
            place = f"{path}:{bad.line}: {bad.cause}"
            if skipped is None:
                remedy = ", or leave such sentences out with --skip-bad" if can_skip else ""
                if isinstance(bad, _BadBytes):
                    raise InvalidUTF8Error(f"{place}; {invalid_remedy(path)}{remedy}") from None
                if plain:
                    raise DataError(
                        f"{place}; the file looks like plain text, and a tagger needs sentences whose words have tags, "
                        "in columns or in CoNLL-U"
                    ) from None
                raise DataError(f"{place}; correct the file{remedy}") from None
            skipped.append(place)


def _read(block: Lines, parse: Callable[[Lines], Sentence | None], max_tokens: int) -> Sentence | None:
    for number, line in block.numbered():
        if ESCAPED.search(line):
            raise _BadBytes(number, "invalid UTF-8")
    if len(block.lines) > 2 * max_tokens:
        # check before parsing, because parsing a huge block is slow
        raise BadSentence(block.first, _too_long(len(block.lines), max_tokens))
    sentence = parse(block)
    if sentence is None:
        return None
    if not sentence.words:
        raise BadSentence(block.first, "a sentence without words")
    if len(sentence.words) > max_tokens:
        raise BadSentence(block.first, _too_long(len(sentence.words), max_tokens))
    return sentence


def _too_long(length: int, max_tokens: int) -> str:
    return (
        f"a sentence of {length:,} lines, more than data.max_tokens={max_tokens}: "
        "is the blank line missing that ends a sentence?"
    )
