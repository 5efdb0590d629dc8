"""Encoding a text by its vocabulary, whole or piece by piece."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..text.files import Errors, Piece, piece_blocks
from ..text.token_file import Tokens, id_dtype, write_tokens
from .protocol import Encoder, EncodesLongTexts, Vocabulary

COUNTS = ("lines", "unseen", "tokens")


class Encoding:
    """The job `encode`: writes the ids of each group of pieces to a file; see `Job` for the methods.

    Args:
        vocabulary: the vocabulary.
        folder: the folder of the files, each of which has the number of its group as its name.
        errors: how invalid UTF-8 is handled.
        whole_lines: False lets blocks of text end at blanks.
        whole_words: False lets them end between any two characters.
    """

    def __init__(
        self, vocabulary: Vocabulary, folder: Path, errors: Errors, *, whole_lines: bool, whole_words: bool
    ) -> None:
        self._dtype = id_dtype(len(vocabulary))
        self._encoder = encoder_of(vocabulary)
        self._folder = folder
        self._errors = errors
        self._ends = {"whole_lines": whole_lines, "whole_words": whole_words}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Encoding":
        """The job with some settings, of which `vocabulary` is the path of a document."""
        # imported here, because the units import this module
        from .table import vocabulary_from

        vocabulary = vocabulary_from(json.loads(Path(document["vocabulary"]).read_bytes()))
        ends = {name: document[name] for name in ("whole_lines", "whole_words")}
        return cls(vocabulary, Path(document["folder"]), document["errors"], **ends)

    def work(self, number: int, pieces: tuple[Piece, ...]) -> tuple[int, int, int]:
        """Encode a group of pieces; the numbers of its lines, unseen tokens and tokens."""
        counts = dict.fromkeys(COUNTS, 0)
        texts = (text for piece in pieces for text in piece_blocks(piece, self._errors, **self._ends))
        counts["tokens"] = write_tokens(
            self._folder / str(number), encoded_blocks(texts, self._encoder, self._dtype, counts)
        )
        return counts["lines"], counts["unseen"], counts["tokens"]

    def finish(self) -> None:
        """Nothing: everything is in the files."""


def encoder_of(vocabulary: Vocabulary) -> Encoder:
    """The fastest function that encodes long texts with a vocabulary."""
    return vocabulary.encoder() if isinstance(vocabulary, EncodesLongTexts) else plain_encoder(vocabulary)


def plain_encoder(vocabulary: Vocabulary) -> Encoder:
    """A function that encodes texts as the vocabulary does."""

    def encode(text: str) -> tuple[Tokens, int]:
        ids = vocabulary.encode(text)
        return np.array(ids, np.uint32), vocabulary.count_unseen(text, ids)

    return encode


def encoded_blocks(
    texts: Iterable[str], encode: Encoder, dtype: np.dtype[np.integer], counts: dict[str, int]
) -> Iterator[Tokens]:
    """The ids of some blocks of a text.

    Args:
        texts: the blocks.
        encode: encodes one of them.
        dtype: the type of an id.
        counts: to the values of `lines` and `unseen`, those of the text are added.
    """
    for text in texts:
        ids, unseen = encode(text)
        counts["lines"] += text.count("\n")
        counts["unseen"] += unseen
        yield ids.astype(dtype)
