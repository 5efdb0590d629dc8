"""Checks of arguments: numbers, words of a choice, texts and paths. Nothing here imports torch."""

import math
import operator
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from refrain.errors import UserError, shown


def whole_of(given: Any, name: str) -> int:
    """A whole number as an `int`, for example one of numpy. A bool, an array and a tensor are refused.

    Args:
        given: what should be a whole number.
        name: of the argument, for messages.

    Raises:
        UserError: when it is not one.
    """
    try:
        if not _is_other(given):
            return operator.index(given)
    except TypeError:
        pass
    raise UserError(f"{name}: must be a whole number (got {shown(given)})")


def real_of(given: Any, name: str) -> float:
    """A number as a `float`, for example one of numpy. A bool, an array and a tensor are refused.

    Args:
        given: what should be a number.
        name: of the argument, for messages.

    Raises:
        UserError: when it is not one.
    """
    try:
        if not _is_other(given) and hasattr(given, "__float__"):
            return float(given)
    except OverflowError:
        return math.inf if given > 0 else -math.inf
    except (TypeError, ValueError):
        pass
    raise UserError(f"{name}: must be a number (got {shown(given)})")


def _is_other(given: Any) -> bool:
    """Whether something is no number although Python converts it to one: a bool, an array or a tensor."""
    # a bool of numpy has a float, but no index
    is_bool = isinstance(given, bool) or type(given).__name__ in ("bool", "bool_")
    return is_bool or hasattr(given, "__setitem__")


def at_least_one(given: Any, name: str) -> int:
    """A whole number that is at least 1, such as the size of a batch.

    Args:
        given: what should be such a number.
        name: of the argument, for messages.

    Raises:
        UserError: when it is not one.
    """
    number = whole_of(given, name)
    if number < 1:
        raise UserError(f"{name} must be at least 1 (got {shown(number)})")
    return number


def ids_of(given: Iterable[Any], name: str) -> list[int]:
    """Ids of tokens as a list of integers that are not negative.

    Args:
        given: what should be several ids: numbers, an array or a tensor of one axis.
        name: what it is, for the message.

    Raises:
        UserError: when it is something else, or an id is negative.
    """
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise UserError(f"{name}: must be a list of ids (got {described(given)})")
    # an element of a tensor would be a tensor
    ids = given.tolist() if hasattr(given, "tolist") else list(given)
    if not isinstance(ids, list):
        raise UserError(f"{name}: must be a list of ids (got {described(given)})")
    if not all(type(each) is int for each in ids):
        ids = [whole_of(each, name) for each in ids]
    if ids and min(ids) < 0:
        raise UserError(f"{name}: an id must not be negative (got {min(ids)})")
    return ids


def check_choice(name: str, value: Any, choices: Sequence[str], *, optional: bool = False) -> None:
    """Check that an argument is one of some words.

    Args:
        name: of the argument, for messages.
        value: what was given.
        choices: the words.
        optional: whether it may be None as well.

    Raises:
        UserError: when it is not one of them.
    """
    if not (isinstance(value, str) and value in choices) and not (optional and value is None):
        raise UserError(f"{name}: must be one of {', '.join(choices)} (got {shown(value)})")


def path_of(given: Any, name: str, what: str = "a path") -> Path:
    """A path from a text or a path.

    Args:
        given: what should be a path.
        name: of the argument, for messages.
        what: what the path is of, for messages.

    Raises:
        UserError: when it is not one.
    """
    if not isinstance(given, str | os.PathLike):
        raise UserError(f"{name}: must be {what} (got {described(given)})")
    return Path(given)


def described(given: Any) -> str:
    """An argument of another type for a message of one line: plain data as it is, any other object by its class.

    Args:
        given: the argument.
    """
    plain = given is None or isinstance(given, bool | int | float | str | bytes | list | tuple | dict | set)
    return shown(given) if plain else f"an object of the class {type(given).__name__}"


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
