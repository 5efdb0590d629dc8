"""The words of a line as its writer spelled them, each with its tokens."""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from ..text.words import split_words
from .protocol import CountsTokens, PreparesText, Vocabulary


class WrittenWord(NamedTuple):
    """A word between blanks, as it is spelled in the text.

    Attributes:
        text: the word.
        start: the index of its first token in the line.
        stop: the index after its last token.
    """

    text: str
    start: int
    stop: int


def aligned(vocabulary: Vocabulary, line: str) -> tuple[list[int], list[WrittenWord]]:
    """The ids of a line and its written words, each of which has the tokens from `start` to `stop`.

    A token belongs to the word that has its first visible character. A token of blanks alone belongs to the word before
    it, or to the first word where none is before it. All tokens of the line so belong to words, each to one.

    Args:
        vocabulary: the vocabulary, which may change the case of letters, compose characters and part words.
        line: a line without a newline.
    """
    ids = vocabulary.encode(line)
    sized = [(word, size) for word in split_words(line) if (size := _size(vocabulary, word))]
    if not sized:
        return ids, []
    ends = list(accumulate(size for _, size in sized))
    stops = [0] * len(sized)
    offset = current = 0
    for index, piece in enumerate(vocabulary.pieces(line)):
        # a line end that the line spells out is a word of it
        text = vocabulary.token(ids[index]) if piece == "\n" else piece
        if size := _visible(vocabulary, text):
            while current + 1 < len(ends) and offset >= ends[current]:
                current += 1
            offset += size
        # a token that ends inside a character has no text, and belongs to the word with that character
        if text:
            stops[current] = index + 1
    stops[-1] = len(ids)
    stops = list(accumulate(stops, max))
    return ids, [
        WrittenWord(word, start, stop) for (word, _), start, stop in zip(sized, [0, *stops], stops, strict=False)
    ]


def frequency(vocabulary: Vocabulary, ids: Sequence[int]) -> int | None:
    """How often the rarest of some tokens occurs in the training text; None where that is not known."""
    counts = vocabulary.counts if isinstance(vocabulary, CountsTokens) else None
    return None if counts is None or not ids else min(counts[index] for index in ids)


def token_places(vocabulary: Vocabulary, text: str) -> list[int]:
    """Where in a text each of its tokens begins, as the index of a character.

    Args:
        vocabulary: the vocabulary.
        text: the text, with newlines. After a character whose preparation is longer or shorter, places are not exact.
    """
    pieces = vocabulary.pieces(text)
    if not isinstance(vocabulary, PreparesText):
        return [0, *accumulate(map(len, pieces))][: len(pieces)]
    prepared = vocabulary.preparation._replace(tokenise=False)(text)
    places = []
    place = 0
    for piece, index in zip(pieces, vocabulary.encode(text), strict=True):
        while place < len(prepared) and prepared[place] != "\n" and not _visible(vocabulary, prepared[place]):
            place += 1
        places.append(min(place, len(text)))
        # a line end that the text spells out is a word of it
        spelled = piece == "\n" and not prepared.startswith("\n", place)
        place += len(vocabulary.token(index)) if spelled else len(piece.rstrip(" "))
    return places


def _size(vocabulary: Vocabulary, word: str) -> int:
    """The number of visible characters of a word once it is prepared; parting words adds only blanks."""
    if isinstance(vocabulary, PreparesText):
        word = vocabulary.preparation._replace(tokenise=False)(word)
    return _visible(vocabulary, word)


def _visible(vocabulary: Vocabulary, text: str) -> int:
    """The number of characters of a text that belong to words. Words are parted at all white space of Unicode."""
    parted = isinstance(vocabulary, PreparesText) and vocabulary.preparation.tokenise
    return sum(map(len, text.split() if parted else split_words(text)))
