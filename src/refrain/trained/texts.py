"""A text or several, as the methods of a trained model take them."""

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from refrain.errors import UserError, shown


class Count(NamedTuple):
    """The size of some texts.

    Attributes:
        texts: the number of texts.
        tokens: the number of tokens.
        unknown: the number of tokens that are read as the unknown one because the word or character is not in the
            vocabulary; a word that is spelled `<unk>` is not one of them.
    """

    texts: int
    tokens: int
    unknown: int


def texts_of(given: str | Iterable[Any], name: str = "texts") -> list[str]:
    """A list of texts from one or several. A string is one text, and never a list of its characters.

    Args:
        given: a text, or texts.
        name: of the argument, for messages.

    Raises:
        UserError: when something is not a text.
    """
    if isinstance(given, str):
        return [given]
    if isinstance(given, bytes) or not isinstance(given, Iterable):
        raise UserError(f"{name}: must be a text or a list of texts (got {shown(given)})")
    found = list(given)
    for text in found:
        if not isinstance(text, str):
            raise UserError(f"{name}: each must be a text (got {shown(text)})")
    return found


def text_of(given: Any, name: str) -> str:
    """A single text.

    Args:
        given: what should be a text.
        name: of the argument, for messages.

    Raises:
        UserError: when it is not a text.
    """
    if not isinstance(given, str):
        raise UserError(f"{name}: must be a text (got {shown(given)})")
    return given


def check_whole(**given: Any) -> None:
    """Check that arguments are whole numbers; None is not given.

    Raises:
        UserError: when one is not.
    """
    for name, value in given.items():
        try:
            operator.index(0 if value is None else value)
        except TypeError:
            raise UserError(f"{name}: must be a whole number (got {shown(value)})") from None


def check_batch_size(batch_size: Any) -> None:
    """Check that the size of a batch is a whole number, and at least 1.

    Raises:
        UserError: when it is not.
    """
    check_whole(batch_size=batch_size)
    if batch_size is None or batch_size < 1:
        raise UserError(f"batch_size must be at least 1 (got {shown(batch_size)})")


def check_real(**given: Any) -> None:
    """Check that arguments are numbers; None is not given.

    Raises:
        UserError: when one is not.
    """
    for name, value in given.items():
        if value is not None and (isinstance(value, str | bytes) or not hasattr(value, "__float__")):
            raise UserError(f"{name}: must be a number (got {shown(value)})")


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Check that an argument is one of some words; None is not given.

    Raises:
        UserError: when it is not.
    """
    if value is not None and value not in choices:
        raise UserError(f"{name}: must be one of {', '.join(choices)} (got {shown(value)})")


def check_clamp(clamp: Any) -> None:
    """Check that the values at which units are held are numbers; None is not given.

    Raises:
        UserError: when they are not.
    """
    if clamp is not None and not isinstance(clamp, Mapping):
        raise UserError(f"clamp: must map units to values, as in {{3: 1.5}} (got {shown(clamp)})")
    check_real(**{f"clamp: the value of unit {unit}": value for unit, value in (clamp or {}).items()})


def units_of(given: Any) -> list[int]:
    """The units of a layer, as a list of whole numbers.

    Args:
        given: what should be several units.

    Raises:
        UserError: when it is one unit, a string or something else.
    """
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise UserError(f"units: must be a list of whole numbers, such as [3] or [3, 5] (got {shown(given)})")
    found = list(given)
    for unit in found:
        check_whole(units=unit)
    return [int(unit) for unit in found]


def words_of_sentences(given: Any) -> list[list[str]]:
    """Sentences as lists of words. A string is never a list of its characters.

    Args:
        given: what should be several sentences.

    Raises:
        UserError: when a sentence is a string, or something else is no list of sentences, or no word.
    """
    split = "sentences: a sentence is a list of words; split a string first, or use tag_text"
    if isinstance(given, str):
        raise UserError(split)
    if isinstance(given, bytes) or not isinstance(given, Iterable):
        raise UserError(f"sentences: must be a list of sentences, each a list of words (got {shown(given)})")
    found = []
    for sentence in given:
        if isinstance(sentence, str):
            raise UserError(split)
        if isinstance(sentence, bytes) or not isinstance(sentence, Iterable):
            raise UserError(f"sentences: each must be a list of words (got {shown(sentence)})")
        found.append([text_of(word, "sentences: each word") for word in sentence])
    return found
