"""Finding the training, validation and test text in a folder or a file."""

import fnmatch
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from refrain.errors import DataError

from .files import Span, Spans, line_offsets, whole

SPLITS = ("train", "valid", "test")
SPELLINGS = {"train": ("train",), "valid": ("valid", "validation", "val", "dev"), "test": ("test",)}
ENDINGS = ("txt", "tokens")
SHARES = (0.9, 0.05)


def find_splits(
    path: Path, *, shares: tuple[float, float] = SHARES, requested: tuple[str, ...] = SPLITS
) -> dict[str, Spans]:
    """The text of each split of a word corpus.

    Args:
        path: a folder with a file for each split, named in the style of PTB or WikiText, or one plain file, which is
            cut between lines, in the order of the text.
        shares: the shares of the lines of a plain file that are `train` and `valid`; any rest is `test`.
        requested: the splits to look for. A missing `test` is left out; any other missing split is an error.

    Returns:
        The text of each split, by name.

    Raises:
        DataError: when something is missing, empty or ambiguous.
    """
    if path.is_dir():
        return {
            name: spans
            for name in requested
            if (spans := _in_folder(path, name, optional=name == "test" != requested[0]))
        }
    (file,) = whole(path)
    offsets = [file.start, *line_offsets(file, fractions_of(shares)), file.stop]
    return choose([(Span(path, start, stop),) for start, stop in pairwise(offsets)], requested)


def fractions_of(shares: tuple[float, float]) -> tuple[float, ...]:
    """The fractions at which a text is cut: after `train`, and after `valid` unless nothing is left for `test`."""
    # 0.9 + 0.05 is a little more than 0.95
    both = round(sum(shares), 9)
    return shares[:1] if both >= 1 else (shares[0], both)


def choose(parts: Sequence[Spans], requested: tuple[str, ...]) -> dict[str, Spans]:
    """The parts of a text by the names of their splits; `test` may be missing.

    Raises:
        DataError: when there is no part for the requested split.
    """
    found = dict(zip(SPLITS, parts, strict=False))
    if requested[0] not in found:
        raise DataError(f"{parts[0][0].path}: data.split leaves nothing for {requested[0]}; choose another split")
    return {name: found[name] for name in requested if name in found}


def missing(folder: Path, split: str, files: Sequence[str], remedy: str = "") -> DataError:
    """The error that a folder has no text for a split; it lists the files that the folder has."""
    here = ", ".join(files[:6]) + (", ..." if len(files) > 6 else "") or "no files"
    return DataError(
        f"{folder}: no {split} text; expected a file such as ptb.{split}.txt, {split}.txt or wiki.{split}.tokens"
        f"{remedy} (found {here})"
    )


def _in_folder(folder: Path, split: str, *, optional: bool) -> Spans | None:
    try:
        files = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}") from None
    patterns = [
        f"{prefix}{spelling}.{ending}" for spelling in SPELLINGS[split] for ending in ENDINGS for prefix in ("", "*.")
    ]
    found = [name for name in files if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
    if len(found) > 1:
        raise DataError(f"{folder}: {len(found)} files could be the {split} text: {', '.join(found)}; keep one")
    if found:
        return whole(folder / found[0])
    if optional:
        return None
    raise missing(folder, split, files)
