"""Byte corpora: the file itself is the token file, read through a memory map."""

from collections.abc import Mapping

import numpy as np

from .corpus import Corpus, Split
from .text import Span, sha256_and_lines
from .token_file import TokenFile
from .vocabulary import ByteVocabulary


def open_byte_corpus(name: str, spans: Mapping[str, Span]) -> Corpus:
    """A corpus of bytes. Nothing is written and nothing is copied.

    Args:
        name: what to call it.
        spans: where the text of each split stands.
    """
    splits = {}
    for split, span in spans.items():
        file = TokenFile(span.path, np.uint8, start=span.start, stop=span.stop)
        digest, lines = sha256_and_lines(span)
        splits[split] = Split(span, digest, file, lines, unseen=0)
    return Corpus(name, ByteVocabulary(), splits)
