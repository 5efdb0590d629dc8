"""The size of a text in bytes, characters and words: the denominators that are the same whatever a token is."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .corpus import Corpus, Split
from .text.files import BLOCK_BYTES, Errors, Spans, blocks
from .text.words import BLANKS
from .units.table import UNITS
from .units.word.vocabulary import count_spelled_ends

_NEWLINE = 10
_IS_BLANK = np.zeros(256, bool)
_IS_BLANK[list(BLANKS.encode())] = True


class TextSize(NamedTuple):
    """The size of a text, and the number of tokens that a vocabulary divides it into.

    Attributes:
        tokens: the tokens.
        bytes: the bytes of UTF-8 of the text as it is read: with a newline at the end of every line.
        characters: the characters, which are code points of Unicode.
        words: the words between blanks, and the line ends, as a model of words counts them.
    """

    tokens: int
    bytes: int
    characters: int
    words: int


def text_size(corpus: Corpus, split: str) -> TextSize:
    """The size of the original text of a split, whatever its vocabulary changes or does not know.

    The text is read once. Of a corpus of bytes the tokens are read instead, which are the text as it was cleaned.

    Args:
        corpus: the corpus.
        split: the name of the split.

    Raises:
        DataError: when the text cannot be read any more.
    """
    part = corpus.splits[split]
    tokens_are_bytes = corpus.vocabulary.bytes_per_token == 1
    texts = _token_bytes(part) if tokens_are_bytes else _text_bytes(part.source, corpus.errors)
    sizes = {"bytes": 0, "characters": 0, "words": 0}
    after_blank = True
    for text in texts:
        codes: npt.NDArray[np.uint8] = np.frombuffer(text, np.uint8)
        blank = _IS_BLANK[codes]
        sizes["bytes"] += len(codes)
        # the bytes of UTF-8 after the first of a character are 10xxxxxx
        sizes["characters"] += int(np.count_nonzero(codes & 0xC0 != 0x80))
        begins = np.count_nonzero(~blank[1:] & blank[:-1]) + (after_blank and not blank[0])
        sizes["words"] += int(begins) + int(np.count_nonzero(codes == _NEWLINE)) - count_spelled_ends(text)
        after_blank = bool(blank[-1])
    return TextSize(len(part.tokens), **sizes)


def bytes_of_tokens(corpus: Corpus, splits: Sequence[str]) -> dict[str, float] | None:
    """The mean number of bytes of a token in the text of each split; None for a unit whose perplexities are reported.

    Args:
        corpus: the corpus.
        splits: the names of the splits.
    """
    if corpus.vocabulary.bytes_per_token is not None:
        return dict.fromkeys(splits, float(corpus.vocabulary.bytes_per_token))
    if not UNITS[corpus.vocabulary.unit].in_bytes:
        return None
    sizes = {split: text_size(corpus, split) for split in splits}
    return {split: size.bytes / size.tokens for split, size in sizes.items()}


def _text_bytes(source: Spans, errors: Errors) -> Iterator[bytes]:
    for text in blocks(source, errors, whole_lines=False, whole_words=False):
        if text:
            yield text.encode("utf-8", "surrogateescape")


def _token_bytes(split: Split) -> Iterator[bytes]:
    for start in range(0, len(split.tokens), BLOCK_BYTES):
        yield split.tokens.read(start, start + BLOCK_BYTES).tobytes()
        split.tokens.release()
