"""The protocol of a vocabulary, which every unit of tokens implements."""

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from refrain.errors import UserError

from ..text.files import Errors, Spans
from ..text.token_file import Tokens, TokenSource
from .word.preparation import Preparation

# a function of a text that returns its ids and the number of those that are unseen
Encoder = Callable[[str], tuple[Tokens, int]]


class Spelling(NamedTuple):
    """How a token is spelled in its text.

    Attributes:
        text: its bytes.
        ends_word: whether a word ends with it.
    """

    text: bytes
    ends_word: bool


class Vocabulary(Protocol):
    """Tokens and their ids, and everything that depends on what a token is. Other code does not know the unit."""

    @property
    def unit(self) -> str:
        """The name of the unit in `refrain.data.units.table.UNITS`; with an s it is the plural in messages."""
        ...

    @property
    def piece(self) -> str:
        """What one of the `pieces` is called, for captions."""
        ...

    @property
    def bytes_per_token(self) -> int | None:
        """How many bytes of text a token has where all tokens have the same number, else None."""
        ...

    @property
    def line_end(self) -> int:
        """The id of the token that ends a line."""
        ...

    @property
    def unknown(self) -> int | None:
        """The id that text outside the vocabulary gets; None if every text has ids of its own."""
        ...

    @property
    def unknown_count(self) -> int | None:
        """How often `unknown` occurs in the training text; None where that is not known."""
        ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[str | bytes]:
        """The tokens in the order of their ids."""
        ...

    def __contains__(self, text: object) -> bool:
        """Whether a token, or a text whose tokens all have ids of their own, is in the vocabulary."""
        ...

    def encode(self, text: str) -> list[int]:
        """The ids of a text. Anything but a string, such as a list of words, raises a UserError."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        ...

    def token(self, index: int) -> str:
        """One token in print, without blanks or line ends. An id outside of the vocabulary raises an IndexError."""
        ...

    def continuation(self, prompt: str, ids: Iterable[int]) -> Iterator[str]:
        """The text of ids that follow a prompt, piece by piece as the ids arrive."""
        ...

    def pieces(self, text: str) -> list[str]:
        """A text in as many pieces as it has tokens; a piece is empty where a token ends inside a character."""
        ...

    def count_unseen(self, text: str, ids: Sequence[int]) -> int:
        """How many of the ids of a text are `unknown` although the text does not spell that token."""
        ...

    def spellings(self, source: Spans, tokens: TokenSource, errors: Errors) -> Iterator[Spelling]:
        """The spelling of every token of a corpus, read from its text or from its ids, whichever has it."""
        ...

    def document(self) -> dict[str, Any]:
        """The vocabulary as plain data; `Unit.vocabulary_from` reads it."""
        ...


@runtime_checkable
class PreparesText(Protocol):
    """A vocabulary that changes every text before it is divided into tokens."""

    @property
    def preparation(self) -> Preparation:
        """What is done to every text."""
        ...

    def prepared(self, preparation: Preparation) -> Vocabulary:
        """The same vocabulary with another preparation."""
        ...


@runtime_checkable
class CountsTokens(Protocol):
    """A vocabulary that may know how often its tokens occur in the training text."""

    @property
    def counts(self) -> Sequence[int] | None:
        """The count of each token in the order of the ids; None where that is not known."""
        ...


@runtime_checkable
class EncodesLongTexts(Protocol):
    """A vocabulary that encodes long texts in another way than short ones, with the same result."""

    def encoder(self) -> Encoder:
        """A function of a text that returns the same ids as `encode`, and the same number as `count_unseen`."""
        ...


@runtime_checkable
class DividesWords(Protocol):
    """A vocabulary whose tokens are parts of words, which begin with the blanks before them."""

    def divided_within(self, text: str) -> tuple[list[int], list[str]]:
        """The ids of a text that continues a line, and the part of the text that each stands for."""
        ...


def encode_within(vocabulary: Vocabulary, text: str) -> list[int]:
    """The ids of a text that continues a line; of some tokenizers they are others than at the beginning of a line.

    Args:
        vocabulary: the vocabulary.
        text: the text, with the blanks at its beginning.
    """
    return vocabulary.divided_within(text)[0] if isinstance(vocabulary, DividesWords) else vocabulary.encode(text)


def checked_id(index: int, size: int) -> int:
    """An id that is in a vocabulary; a negative one does not count from the end.

    Args:
        index: what should be an id.
        size: the number of tokens of the vocabulary.

    Raises:
        IndexError: when it is not in the vocabulary.
    """
    number = operator.index(index)
    if not 0 <= number < size:
        raise IndexError(f"the id {number} is not in the vocabulary, whose ids are at least 0 and less than {size}")
    return number


def fitted(vocabulary: Vocabulary, *, lowercase: bool, tokenise: bool) -> Vocabulary:
    """The vocabulary of a model with further preparation of texts, beside that with which the model was trained.

    Args:
        vocabulary: the vocabulary of the model.
        lowercase: whether letters are converted to lower case.
        tokenise: whether words are separated from punctuation.

    Raises:
        UserError: when the vocabulary does not prepare texts.
    """
    if not lowercase and not tokenise:
        return vocabulary
    if not isinstance(vocabulary, PreparesText):
        option = "--lowercase" if lowercase else "--tokenise"
        raise UserError(f"{option} cannot take effect with a model of {vocabulary.unit}s")
    own = vocabulary.preparation
    return vocabulary.prepared(own._replace(lowercase=own.lowercase or lowercase, tokenise=own.tokenise or tokenise))
