"""Figures of bytes that a user should see before training on them."""

import codecs
import re
from typing import Any

import numpy as np

from ...corpus import Split
from ...text.files import BLOCK_BYTES
from ...text.packed import is_unpacked

RELEASE_BLOCKS = 64
NEWLINE = 10

# one for each byte that is not UTF-8
ESCAPES = re.compile("[\udc80-\udcff]")


def byte_figures(split: Split) -> dict[str, Any]:
    """The number of files, lines and byte values of a split, its longest line, and how many bytes are not UTF-8."""
    counts = np.zeros(256, np.int64)
    longest = line = invalid = 0
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    for number, start in enumerate(range(0, len(split.tokens), BLOCK_BYTES)):
        block = split.tokens.read(start, start + BLOCK_BYTES)
        counts += np.bincount(block, minlength=256)
        # the last newline of the blocks before, those of this one, and its end
        lengths = np.diff([-1 - line, *np.flatnonzero(block == NEWLINE), len(block)]) - 1
        longest = max(longest, int(lengths.max()))
        line = int(lengths[-1])
        text = decoder.decode(block.tobytes(), final=start + BLOCK_BYTES >= len(split.tokens))
        invalid += 0 if text.isascii() else len(ESCAPES.findall(text))
        if number % RELEASE_BLOCKS == RELEASE_BLOCKS - 1:
            split.tokens.release()
    compressed = sum(is_unpacked(span.path) for span in split.source)
    return {
        "files": len(split.source),
        "lines": int(counts[NEWLINE]),
        "longest_line": longest,
        "byte_values": int(np.count_nonzero(counts)),
        "invalid_utf8": invalid,
        "compressed_files": compressed,
    }
