"""A text or several, as the methods of a trained model take them."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from refrain.errors import UserError, shown


class Count(NamedTuple):
    """The size of some texts.

    Attributes:
        texts: the number of texts.
        tokens: the number of tokens.
        unknown: the number of tokens that are `<unk>`, because the word is not in the vocabulary.
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
