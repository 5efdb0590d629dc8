"""Reading the sentences that `refrain tag` tags: tagged text, words separated by blanks, or plain text."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from .texts import name_of

if TYPE_CHECKING:
    from refrain.data.tagged.formats import Choice
    from refrain.data.tagged.sentences import Lines

Parsed = TypeVar("Parsed")
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


def read_sentences(
    batches: Iterator[list[str]],
    file: str,
    form: Form,
    skip_bad: bool,
    *,
    learnt: str = "auto",
    word_column: int | None = None,
) -> Iterator[Untagged]:
    """The sentences of a text, each as soon as its lines are read.

    Args:
        batches: the lines of the text, as many at a time as can be read without waiting.
        file: the name of the file, for its ending and for messages; `-` is standard input.
        form: how the text is read; `unknown` looks whether its first lines are those of tagged sentences, and else
            reads plain text.
        skip_bad: whether bad sentences are left out.
        learnt: the column of the words, where the tagger learnt from columns: `auto` or a number.
        word_column: the column of the words, if the text is in columns; None is `learnt`, where the text has it.

    Raises:
        DataError: for a bad sentence of tagged text, or when the text has no such column of words.
    """
    from refrain.data.tagged.formats import HEAD_LINES, conllu_columns
    from refrain.data.tagged.recognition import begins_tagged
    from refrain.data.tagged.tokenise import sentences_of
    from refrain.data.text.words import split_words
    from refrain.errors import UserError

    head: list[str] = []
    if form == "unknown":
        head = _head(batches)
    lines: Iterator[str] = chain(head, chain.from_iterable(batches))
    if form == "unknown":
        first = head[:HEAD_LINES]
        columns = conllu_columns(file, first)
        if columns is not None:
            if word_column is not None:
                raise UserError("--word-column cannot take effect with CoNLL-U, whose words are the column form")
            yield from _from_conllu(lines, file, columns, skip_bad)
            return
        if word_column is not None or begins_tagged(file, first):
            remedy = "" if word_column is None else "; if this is plain text, leave out --word-column"
            yield from _from_tagged(lines, first, file, skip_bad, _choices(learnt, word_column), remedy)
            return
    lines = _valid(lines, file)
    if form == "tokenised":
        for line in lines:
            if words := split_words(line):
                yield Untagged(words, [True] * len(words))
        return
    for tokens in sentences_of(lines):
        yield Untagged([token.form for token in tokens], [token.space_after for token in tokens])


def _valid(lines: Iterator[str], file: str) -> Iterator[str]:
    """The lines of plain text, of which none can be left out.

    Raises:
        InvalidUTF8Error: when one has invalid UTF-8, which was read as surrogate escapes.
    """
    from refrain.data.text.forms import ESCAPED, invalid_remedy
    from refrain.errors import InvalidUTF8Error

    for number, line in enumerate(lines, 1):
        if ESCAPED.search(line):
            raise InvalidUTF8Error(f"{name_of(file)}:{number}: invalid UTF-8; {invalid_remedy(file)}")
        yield line


def _head(batches: Iterator[list[str]]) -> list[str]:
    """The first lines, up to the first that is neither blank nor a comment, and what can be read without waiting."""
    from refrain.data.text.words import is_blank

    head: list[str] = []
    for batch in batches:
        head += batch
        if any(not is_blank(line) and not line.startswith("#") for line in batch):
            break
    return head


def _from_tagged(
    lines: Iterator[str], head: Sequence[str], file: str, skip_bad: bool, choices: "Sequence[Choice]", remedy: str
) -> Iterator[Untagged]:
    """The words of columns, of pairs such as `the/DT` or of trees, whose tags are not kept.

    Args:
        lines: the lines of the text.
        head: the first of them.
        file: the name of the file.
        skip_bad: whether bad sentences are left out.
        choices: columns, of which the first are taken that the text has.
        remedy: what a message about a bad sentence, or about the first lines, says besides.
    """
    from refrain.data.tagged.formats import format_of
    from refrain.errors import DataError

    from .output import log

    for number, choice in enumerate(choices, 1):
        try:
            found = format_of(file, head, choice)
            break
        except DataError as error:
            if number == len(choices):
                raise DataError(f"{error}{remedy}") from None
    log(f"{name_of(file)}: read as tagged text ({found.name}), whose tags are replaced; --plain reads it as plain text")
    for _, sentence in _read(found.blocks(lines), found.parse, file, skip_bad, remedy):
        if sentence is None:
            continue
        words = list(sentence.words)
        yield Untagged(words, [True] * len(words))


def _choices(learnt: str, word_column: int | None) -> "list[Choice]":
    """The columns of a text that is tagged: those of the training text, or any others."""
    from refrain.data.tagged.formats import Choice

    if word_column is None:
        return [Choice(word_column=learnt), Choice()]
    # the last column has none after it, and what is in the other one is not kept
    return [Choice(word_column=str(word_column)), Choice("1" if word_column > 1 else "auto", str(word_column))]


def _from_conllu(lines: Iterator[str], file: str, columns: tuple[str, ...], skip_bad: bool) -> Iterator[Untagged]:
    from refrain.data.tagged.conllu import is_comment, words_in
    from refrain.data.tagged.sentences import BadSentence, blocks_of_lines

    form = columns.index("form")

    def parse(block: "Lines") -> list[str]:
        words = [row.fields[form] for row in words_in(block, columns)]
        if not words and not is_comment(block):
            raise BadSentence(block.first, "a sentence without words")
        return words

    for block, words in _read(blocks_of_lines(lines), parse, file, skip_bad):
        yield Untagged(words, [True] * len(words), block, columns)


def _read(
    blocks: "Iterator[Lines]", parse: "Callable[[Lines], Parsed]", file: str, skip_bad: bool, remedy: str = ""
) -> "Iterator[tuple[Lines, Parsed]]":
    """Yield the lines of each sentence with what they are parsed to; bad ones are left out and logged, or an error."""
    from refrain.data.tagged.sentences import BadSentence
    from refrain.data.text.forms import ESCAPED
    from refrain.errors import DataError, quantity

    from .output import log

    skipped = 0
    for block in blocks:
        try:
            for number, line in block.numbered():
                if ESCAPED.search(line):
                    raise BadSentence(number, "invalid UTF-8")
            parsed = parse(block)
        except BadSentence as bad:
            message = f"{name_of(file)}:{bad.line}: {bad.cause}"
            if not skip_bad:
                raise DataError(f"{message}; correct it, or leave out such sentences with --skip-bad{remedy}") from None
            skipped += 1
            log(f"left out: {message}")
            continue
        yield block, parsed
    if skipped:
        log(f"left out {quantity(skipped, 'bad sentence')}")
