"""Finding the splits of a text that is made of lines, the same for every unit but bytes."""

import glob
from pathlib import Path

from refrain.errors import DataError

from ..text.files import Spans
from ..text.shards import is_pattern
from ..text.splits import find_splits
from .unit import Report, TextOptions


def holds_splits(path: Path) -> bool:
    """Whether a path holds a text for each split: a folder, whose files are the splits."""
    return path.is_dir()


def find_text_splits(path: Path, options: TextOptions, requested: tuple[str, ...], log: Report) -> dict[str, Spans]:
    """Where the text of each requested split is, in a folder or in one file that is cut.

    Args:
        path: the folder or the file.
        options: how text is read; the shares of a single file are used.
        requested: the splits to look for.
        log: called with a line of text, see `find_splits`.

    Raises:
        DataError: when the path is a pattern, or something is missing, empty or ambiguous.
    """
    if is_pattern(str(path)):
        if not glob.glob(str(path), recursive=True):
            raise DataError(f"{path}: no such file or folder, and no file matches it as a pattern; check the path")
        raise DataError(
            f"{path}: only a byte model reads the files of a pattern; set data.unit=byte, or give a folder or file"
        )
    return find_splits(path, shares=options.split, requested=requested, log=log)
