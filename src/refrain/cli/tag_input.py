"""Reading the sentences that `refrain tag` tags: CoNLL-U, words separated by blanks, or plain text."""

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from refrain.data.tagged.sentences import Lines

Form = Literal["plain", "tokenised", "unknown"]


class Untagged(NamedTuple):
    """A sentence to tag, from plain text or from a block of CoNLL-U.

    Attributes:
        words: the words.
        space_after: whether a space follows each word.
        block: the lines of CoNLL-U, which are kept except for the tags; None for plain text.
        columns: the columns of CoNLL-U; empty for plain text.
    """

    words: list[str]
    space_after: list[bool]
    block: "Lines | None" = None
    columns: tuple[str, ...] = ()


def read_sentences(lines: Iterator[str], file: str, form: Form, skip_bad: bool) -> Iterator[Untagged]:
    """The sentences of a text, each as soon as its lines are read.

    Args:
        lines: the lines of the text.
        file: the name of the file, for its ending and for messages; `-` is standard input.
        form: how the text is read; `unknown` looks whether it is CoNLL-U, and else reads plain text.
        skip_bad: whether bad sentences are left out.

    Raises:
        DataError: for a bad sentence of CoNLL-U.
    """
    from refrain.data.tagged.tokenise import sentences_of
    from refrain.data.text.words import split_words

    if form == "unknown":
        columns, lines = _peek(lines, file)
        if columns is not None:
            yield from _from_conllu(lines, file, columns, skip_bad)
            return
    if form == "tokenised":
        for line in lines:
            if words := split_words(line):
                yield Untagged(words, [True] * len(words))
        return
    for tokens in sentences_of(lines):
        yield Untagged([token.form for token in tokens], [token.space_after for token in tokens])


def _peek(lines: Iterator[str], file: str) -> tuple[tuple[str, ...] | None, Iterator[str]]:
    """The columns of CoNLL-U, judged by the comments and the first other line, and an iterator of all lines."""
    from refrain.data.tagged.formats import conllu_columns
    from refrain.data.text.words import is_blank

    head: list[str] = []
    for line in lines:
        head.append(line)
        if not is_blank(line) and not line.startswith("#"):
            break
    return conllu_columns(file, head), chain(head, lines)


def _from_conllu(lines: Iterator[str], file: str, columns: tuple[str, ...], skip_bad: bool) -> Iterator[Untagged]:
    from refrain.data.tagged.conllu import heading_in, words_in
    from refrain.data.tagged.sentences import BadSentence, blocks_of_lines
    from refrain.errors import DataError

    from .output import log

    skipped = 0
    form = columns.index("form")
    for block in blocks_of_lines(lines):
        try:
            words = [row.fields[form] for row in words_in(block, columns)]
            if not words and not any(heading_in(line) for line in block.lines):
                raise BadSentence(block.first, "a sentence without words")
        except BadSentence as bad:
            message = f"{'standard input' if file == '-' else file}:{bad.line}: {bad.cause}"
            if not skip_bad:
                raise DataError(f"{message}; correct it, or leave out such sentences with --skip-bad") from None
            skipped += 1
            log(f"left out: {message}")
            continue
        yield Untagged(words, [True] * len(words), block, columns)
    if skipped:
        log(f"left out {skipped} bad sentence(s)")
