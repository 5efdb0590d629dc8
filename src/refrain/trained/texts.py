"""A text or several, as the methods of a trained model take them."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from refrain.arguments import text_of
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


def words_of_sentences(given: Any) -> list[list[str]]:
    """Sentences as lists of words. A string is never a list of its characters.

    Args:
        given: what should be several sentences.

    Raises:
        UserError: when a sentence is a string, something else is no list of sentences or no word, or a word is empty or
            has a tab or a line end in it.
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
        for word in found[-1]:
            if not word or "\t" in word or "\n" in word or "\r" in word:
                raise UserError(f"sentences: a word must have no tabs or line ends and not be empty (got {word!r})")
    return found
