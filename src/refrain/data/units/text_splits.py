"""Finding the splits of a text that is made of lines, the same for every unit but bytes."""

import glob
from pathlib import Path

from refrain.errors import DataError

from ..text.files import Spans
from ..text.joined import cut_joined, is_joined, joined_text
from ..text.packed import text_file
from ..text.shards import is_pattern
from ..text.splits import choose, find_splits, fractions_of
from .unit import Report, TextOptions


def holds_splits(path: Path) -> bool:
    """Whether a path holds a text for each split: a folder in which files or folders are named after splits."""
    return path.is_dir() and not is_joined(path)


def find_text_splits(path: Path, options: TextOptions, requested: tuple[str, ...], log: Report) -> dict[str, Spans]:
    """Where the text of each requested split is: in a folder, or in one file or several that are cut as one text.

    Args:
        path: a folder, a file or a pattern.
        options: how text is read; the shares of a single text are used.
        requested: the splits to look for.
        log: called with a line of text, see `find_splits`.

    Raises:
        DataError: when something is missing, empty or ambiguous.
    """
    _check_pattern(path)
    if is_joined(path):
        return choose(
            cut_joined(joined_text(path, log, workers=options.workers), fractions_of(options.split)), requested
        )
    return find_splits(path, shares=options.split, requested=requested, log=log, workers=options.workers)


def find_all_text(path: Path, log: Report) -> Spans:
    """Where all the text of a file, a pattern or a folder without splits is.

    Raises:
        DataError: when it is missing or empty, or no text.
    """
    _check_pattern(path)
    return joined_text(path, log) if is_joined(path) else text_file(path, log)


def _check_pattern(path: Path) -> None:
    if is_pattern(str(path)) and not glob.glob(str(path), recursive=True):
        raise DataError(f"{path}: no such file or folder, and no file matches it as a pattern; check the path")
