"""Looking a corpus over before training on it."""

import codecs
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from ..corpus import Corpus, Split
from ..units.word.vocabulary import UNK, WordVocabulary
from .files import BLOCK_BYTES, Errors, blocks

LONG_LINE_WORDS = 2000
RELEASE_BLOCKS = 64
NEWLINE = 10

# one for each byte that is not UTF-8
ESCAPES = re.compile("[\udc80-\udcff]")


def survey(corpus: Corpus) -> dict[str, Any]:
    """What there is in a corpus.

    Returns:
        `vocabulary`, and for each split tokens, lines, unseen words (read as `<unk>`) and the share they are, literal
        `<unk>`, empty and very long lines, and how many of its lines of five words and more also stand in `train`; of
        bytes the number of files, lines and byte values, the longest line, and how many bytes are not UTF-8.
    """
    words = isinstance(corpus.vocabulary, WordVocabulary)
    train = set(_line_hashes(corpus.splits["train"], corpus.errors)) if words and "train" in corpus.splits else set()
    splits = {}
    for name, split in corpus.splits.items():
        figures: dict[str, Any] = {
            "tokens": len(split.tokens),
            "lines": split.lines,
            "unseen": split.unseen,
            "sha256": split.sha256,
        }
        if words:
            figures |= _line_figures(split, corpus.errors)
            if name != "train" and train:
                hashes = list(_line_hashes(split, corpus.errors))
                figures["lines_in_train"] = sum(line in train for line in hashes)
        else:
            figures |= {"files": len(split.source), **_byte_figures(split)}
        splits[name] = figures
    return {"corpus": corpus.name, "vocabulary": len(corpus.vocabulary), "splits": splits}


def warnings_about(figures: dict[str, Any]) -> list[str]:
    """What a user should know of a survey's figures before training."""
    lines = []
    for name, split in figures["splits"].items():
        if split["unseen"] > 0.05 * split["tokens"]:
            lines.append(f"{name}: {split['unseen'] / split['tokens']:.1%} of the words are unseen and read as {UNK}")
        if split.get("lines_in_train", 0) > 0.1 * max(split["lines"], 1):
            lines.append(f"{name}: {split['lines_in_train'] / split['lines']:.1%} of the lines also stand in train")
        if split.get("long_lines"):
            lines.append(
                f"{name}: {split['long_lines']} line(s) of over {LONG_LINE_WORDS} words; is a line a sentence?"
            )
        if split.get("invalid_utf8"):
            share = split["invalid_utf8"] / split["tokens"]
            lines.append(f"{name}: {split['invalid_utf8']:,} byte(s), {share:.2%}, are not UTF-8")
        if split.get("byte_values") == 1:
            lines.append(f"{name}: every byte is the same")
        if split["tokens"] < 1000:
            lines.append(f"{name}: only {split['tokens']} tokens")
    return lines


def _lines(split: Split, errors: Errors) -> Iterator[str]:
    for text in blocks(split.source, errors):
        yield from text.split("\n")[:-1]


def _line_hashes(split: Split, errors: Errors) -> Iterator[int]:
    # short lines repeat in any text; hashes keep a long text's lines in little memory
    return (hash(line) for line in islice(_lines(split, errors), 5_000_000) if len(line.split()) >= 5)


def _line_figures(split: Split, errors: Errors) -> dict[str, int]:
    empty = long = literal = 0
    for line in _lines(split, errors):
        words = line.split()
        empty += not words
        long += len(words) > LONG_LINE_WORDS
        literal += words.count(UNK)
    return {"literal_unk": literal, "empty_lines": empty, "long_lines": long}


def _byte_figures(split: Split) -> dict[str, int]:
    counts = np.zeros(256, np.int64)
    longest = line = invalid = 0
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    for number, start in enumerate(range(0, len(split.tokens), BLOCK_BYTES)):
        block = split.tokens.read(start, start + BLOCK_BYTES)
        counts += np.bincount(block, minlength=256)
        # the last newline of the blocks before, those of this one, and its end
        lengths = np.diff([-1 - line, *np.flatnonzero(block == NEWLINE), len(block)]) - 1
        longest, line = max(longest, int(lengths.max())), int(lengths[-1])
        text = decoder.decode(block.tobytes(), final=start + BLOCK_BYTES >= len(split.tokens))
        invalid += 0 if text.isascii() else len(ESCAPES.findall(text))
        if number % RELEASE_BLOCKS == RELEASE_BLOCKS - 1:
            split.tokens.release()
    return {
        "lines": int(counts[NEWLINE]),
        "longest_line": longest,
        "byte_values": int(np.count_nonzero(counts)),
        "invalid_utf8": invalid,
    }
