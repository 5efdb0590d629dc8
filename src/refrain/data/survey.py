"""Checking a corpus before training on it."""

from typing import Any

from refrain.errors import quantity

from .corpus import Corpus
from .units.protocol import PreparesText
from .units.table import UNITS
from .units.word.survey import LONG_LINE_WORDS
from .units.word.vocabulary import EOS, UNK
from .unknown import MANY

# what is reported if a count is not zero: the noun, and what follows it
ODDITIES = {
    "literal_eos": ("line", f"with a literal {EOS} at the end, which is the end of the line and is not counted twice"),
    "eos_in_lines": ("line end", f"by a literal {EOS} inside of a line"),
    "other_ends": ("line", "with a literal </s> at the end, which is predicted like any word; take it out"),
    "json_lines": ("line", "that may be JSON, whose names and marks are read as words; extract the text first"),
    "marked_lines": ("line", "with a byte order mark at the beginning, which is left out"),
    "zero_bytes": ("zero byte", "inside of words"),
    "words_with_other_blanks": (
        "word",
        "with white space other than blanks and tabs, such as a no-break space, where no word ends",
    ),
    "lines_not_nfc": (
        "line",
        "outside of the normal form NFC; data.normalise=nfc reads two ways to store an accent as one word",
    ),
    "compressed_files": ("compressed file", "to unpack"),
}


def survey(corpus: Corpus) -> dict[str, Any]:
    """Figures of a corpus.

    Returns:
        The `unit`, the size of the `vocabulary`, its `unknown` token, how often that occurs in `train`
        (`unknown_in_train`), its `preparation` if it has one, and for each split its tokens, lines, unseen tokens (read
        as the unknown one), the sha256 of the text, and the figures of its unit; see `word_figures`, `byte_figures` and
        `line_figures`.
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
    vocabulary = corpus.vocabulary
    about: dict[str, Any] = {"corpus": corpus.name, "unit": vocabulary.unit, "vocabulary": len(vocabulary)}
    if vocabulary.unknown is not None:
        about["unknown"] = vocabulary.token(vocabulary.unknown)
    if vocabulary.unknown_count is not None:
        about["unknown_in_train"] = vocabulary.unknown_count
    if isinstance(vocabulary, PreparesText):
        about["preparation"] = vocabulary.preparation._asdict()
    return {**about, "splits": splits}


def warnings_about(figures: dict[str, Any]) -> list[str]:
    """Warnings about figures that a user should know of before training."""
    lines = []
    unit, unknown = figures.get("unit", "word"), figures.get("unknown", UNK)
    remedy = ""
    if "literal_unk" in next(iter(figures["splits"].values()), {}):
        done = figures.get("preparation", {})
        ways = [f"data.{name}=true" for name in ("lowercase", "tokenise") if not done.get(name)]
        remedy = f"; with {' or '.join(filter(None, [', '.join(ways), 'data.unit=subword']))} they may be fewer"
    for name, split in figures["splits"].items():
        if split["unseen"] > MANY * split["tokens"]:
            cause = (
                "outside the vocabulary (see data.min_count and data.max_words)"
                if name == "train"
                else "rare in train, or unseen there"
            )
            lines.append(
                f"{name}: {split['unseen'] / split['tokens']:.1%} of the {unit}s are {cause}, and read as {unknown}"
                f"{remedy}"
            )
        if split["unseen"] and figures.get("unknown_in_train") == 0:
            lines.append(
                f"{name}: reads {quantity(split['unseen'], unit)} as {unknown}, which does not occur in train, "
                "so that their cost is arbitrary; train with data.min_count=2"
            )
        if split.get("lines_in_train", 0) > 0.1 * max(split["lines"], 1):
            lines.append(f"{name}: {split['lines_in_train'] / split['lines']:.1%} of the lines also occur in train")
        if split.get("long_lines"):
            lines.append(
                f"{name}: has {quantity(split['long_lines'], 'line')} of over {LONG_LINE_WORDS} words; "
                "is a line a sentence?"
            )
        if split.get("invalid_utf8"):
            share = split["invalid_utf8"] / split["tokens"]
            lines.append(f"{name}: {share:.2%} of the bytes ({split['invalid_utf8']:,}) are not UTF-8")
        if split.get("byte_values") == 1:
            lines.append(f"{name}: every byte is the same")
        lines += [
            f"{name}: has {quantity(split[key], noun)} {text}"
            for key, (noun, text) in ODDITIES.items()
            if split.get(key)
        ]
        if split["tokens"] < 1000:
            lines.append(f"{name}: only {quantity(split['tokens'], 'token')}")
    return lines
