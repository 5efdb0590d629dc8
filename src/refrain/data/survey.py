"""Checking a corpus before training on it."""

from typing import Any

from .corpus import Corpus
from .units.table import UNITS
from .units.word.survey import LONG_LINE_WORDS
from .units.word.vocabulary import UNK


def survey(corpus: Corpus) -> dict[str, Any]:
    """Figures of a corpus.

    Returns:
        The size of the `vocabulary`, and for each split its tokens, lines, unseen words (read as `<unk>`), the sha256
        of the text, and the figures of its unit; see `word_figures` and `byte_figures`.
    """
    added = UNITS[corpus.vocabulary.unit].survey(corpus)
    splits = {}
    for name, split in corpus.splits.items():
        figures: dict[str, Any] = {
            "tokens": len(split.tokens),
            "lines": split.lines,
            "unseen": split.unseen,
            "sha256": split.sha256,
        }
        splits[name] = figures | added[name]
    return {"corpus": corpus.name, "vocabulary": len(corpus.vocabulary), "splits": splits}


def warnings_about(figures: dict[str, Any]) -> list[str]:
    """Warnings about figures that a user should know of before training."""
    lines = []
    for name, split in figures["splits"].items():
        if split["unseen"] > 0.05 * split["tokens"]:
            lines.append(f"{name}: {split['unseen'] / split['tokens']:.1%} of the words are unseen and read as {UNK}")
        if split.get("lines_in_train", 0) > 0.1 * max(split["lines"], 1):
            lines.append(f"{name}: {split['lines_in_train'] / split['lines']:.1%} of the lines also occur in train")
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
