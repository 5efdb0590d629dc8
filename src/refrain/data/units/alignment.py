"""The words of a line as its writer spelled them, each with its tokens."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

from ..text.words import BLANKS, split_words
from .protocol import CountsTokens, DividesWords, PreparesText, Vocabulary

_NO_BLANKS = dict.fromkeys(map(ord, BLANKS))


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


def aligned(vocabulary: Vocabulary, line: str, *, within: bool = False) -> tuple[list[int], list[WrittenWord]]:
    """The ids of a line and its written words, each of which has the tokens from `start` to `stop`.

    A token belongs to the word that has its first visible character. A token of blanks alone belongs to the word before
    it, or to the first word where none is before it; with subwords, which begin with the blanks before them, it belongs
    to the word after it, or to the last word. So each token of the line belongs to exactly one word.

    Args:
        vocabulary: the vocabulary, which may change the case of letters, compose characters and split words.
        line: a line without a newline.
        within: whether the text continues a line, from which a blank separates it.
    """
    begins_with_blanks = isinstance(vocabulary, DividesWords)
    if within and isinstance(vocabulary, DividesWords):
        ids, pieces = vocabulary.divided_within(f" {line.lstrip(' ')}")
    else:
        ids, pieces = vocabulary.encode(line), vocabulary.pieces(line)
    visible = _counter(vocabulary)
    sized = [(word, size) for word in split_words(line) if (size := _size(vocabulary, word, visible))]
    if not sized:
        return ids, []
    ends = list(accumulate(size for _, size in sized))
    stops = [0] * len(sized)
    offset = current = 0
    for index, piece in enumerate(pieces):
        # a line end that the line spells out is a word of it
        text = vocabulary.token(ids[index]) if piece == "\n" else piece
        if size := visible(text):
            while current + 1 < len(ends) and offset >= ends[current]:
                current += 1
            offset += size
        # a token that ends inside a character has no text, and belongs to the word with that character
        if size or (text and not begins_with_blanks):
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
    visible = _counter(vocabulary)
    places = []
    place = 0
    for piece, index in zip(pieces, vocabulary.encode(text), strict=True):
        place = _next_visible(prepared, place, visible)
        places.append(min(place, len(text)))
        if piece == "\n" and not prepared.startswith("\n", place):
            # a line end that the text spells out, which the end of its line only repeats
            place = _next_visible(prepared, place + len(vocabulary.token(index)), visible)
            place += prepared.startswith("\n", place)
        else:
            place += len(piece.rstrip(" "))
    return places


def _next_visible(text: str, place: int, visible: Callable[[str], int]) -> int:
    """The place of the next character that is a line end or belongs to a word, from a place on."""
    while place < len(text) and text[place] != "\n" and not visible(text[place]):
        place += 1
    return place


def _size(vocabulary: Vocabulary, word: str, visible: Callable[[str], int]) -> int:
    """The number of visible characters of a word once it is prepared; splitting words adds only blanks."""
    if isinstance(vocabulary, PreparesText):
        word = vocabulary.preparation._replace(tokenise=False)(word)
    return visible(word)


def _counter(vocabulary: Vocabulary) -> Callable[[str], int]:
    """A function that counts the characters of a text that belong to words.

    Where the preparation splits words, it does so at all white space of Unicode.
    """
    if isinstance(vocabulary, PreparesText) and vocabulary.preparation.tokenise:
        return lambda text: len("".join(text.split()))
    return lambda text: len(text.translate(_NO_BLANKS))
