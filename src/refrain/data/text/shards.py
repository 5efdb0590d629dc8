"""Finding the bytes of a corpus in a file, a folder or a pattern, either by named splits or as one text to cut."""

import glob
import os
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from refrain.arguments import path_of
from refrain.errors import DataError, quantity

from .files import Spans, cut_points, line_blocks, part_of, place_of, size_of
from .folders import SPLITS, Log, files_of_splits, files_under, missing, named_entries, readable
from .natural_order import natural
from .packed import byte_file
from .splits import SHARES, choose, fractions_of

# a bracket that is never closed stands for itself
_PATTERN = re.compile(r"[*?]|\[!?+[^/][^/\]]*\]")


def is_pattern(name: str) -> bool:
    """Whether a name is a pattern such as `reviews/part-*.txt`, and not an existing file or folder."""
    return _PATTERN.search(name) is not None and not os.path.exists(name)


def find_byte_splits(
    path: str | Path,
    *,
    shares: tuple[float, float] = SHARES,
    between_lines: bool = False,
    requested: tuple[str, ...] = SPLITS,
    log: Log = lambda line: None,
) -> dict[str, Spans]:
    """The bytes of each split.

    In a folder with files or folders that are named after splits, such as `train-000.txt` and `valid.txt`, only these
    are read. Any other folder, a file and a pattern are read as one text, which is cut by position.

    Args:
        path: a file, a folder or a pattern.
        shares: the shares of the bytes of one text that are `train` and `valid`; any rest is `test`.
        between_lines: move each cut of one text to the beginning of the next line.
        requested: the splits to look for. A missing `test` is left out; any other missing split is an error.
        log: called with a line of text about files that are skipped.

    Returns:
        The bytes of each split, by name.

    Raises:
        DataError: when something is missing, empty or ambiguous.
    """
    path = path_of(path, "path")
    if names_splits(path):
        return _named(path, requested, log)
    spans = one_text(path, log)
    return choose(_cut(spans, fractions_of(shares), between_lines), requested)


def one_text(path: Path, log: Log = lambda line: None) -> Spans:
    """All bytes of a file, of the files under a folder, or of the files that match a pattern, in natural order.

    Hidden, empty and unreadable files and folders that are links are skipped.

    Args:
        path: a file, a folder or a pattern.
        log: called with a line of text about the number of empty and unreadable files.

    Raises:
        DataError: when there is no file to read.
    """
    if is_pattern(str(path)):
        return _readable(pattern_files(path), path, log)
    return _readable(files_under(path), path, log) if path.is_dir() else byte_file(path, log)


def pattern_files(path: Path) -> list[Path]:
    """The files that match a pattern, in natural order.

    Args:
        path: the pattern.

    Raises:
        DataError: when there is none.
    """
    found = [Path(name) for name in glob.glob(str(path), recursive=True)]
    files = sorted({file for file in found if not file.is_dir()}, key=natural)
    if not files:
        raise DataError(f"{path}: no file matches this pattern; check its spelling, ** reaches folders below")
    return files


def names_splits(path: Path) -> bool:
    """Whether a path is a folder in which a file or folder is named after a split.

    Raises:
        DataError: when a name fits two splits.
    """
    return path.is_dir() and bool(named_entries(path))


def _named(folder: Path, requested: tuple[str, ...], log: Log) -> dict[str, Spans]:
    found = files_of_splits(folder, requested, log=log)
    splits = {}
    for split in requested:
        paths = found.get(split, [])
        if not paths and split == "test" != requested[0]:
            continue
        if not paths:
            raise missing(folder, split, f", or {folder}/** for all files as one text to cut")
        files = [file for path in paths for file in (files_under(path) if path.is_dir() else [path])]
        place = paths[0] if len(paths) == 1 else folder
        single = len(paths) == len(files) == 1 and files == paths
        splits[split] = byte_file(files[0], log) if single else _readable(files, place, log)
    return splits


def _readable(files: Iterable[Path], place: Path, log: Log) -> Spans:
    return readable(files, place, lambda file: byte_file(file, log), log)


def _cut(spans: Spans, fractions: tuple[float, ...], between_lines: bool) -> list[Spans]:
    total = size_of(spans)
    parts = len(fractions) + 1
    if total < parts:
        raise DataError(f"{place_of(spans)}: {quantity(total, 'byte')} cannot be split in {parts}; give more text")
    points = cut_points(total, fractions)
    if between_lines:
        points = [_line_start(spans, point) for point in points]
    edges = [0, *points, total]
    if any(start >= stop for start, stop in pairwise(edges)):
        raise DataError(
            f"{place_of(spans)}: its lines are too few or too long to be split in {parts}; "
            "give a folder of splits instead"
        )
    return [part_of(spans, start, stop) for start, stop in pairwise(edges)]


def _line_start(spans: Spans, position: int) -> int:
    """The offset of the first line that begins at or after a position > 0; every file begins a new line."""
    offset = 0
    for span in spans:
        size = span.stop - span.start
        if offset < position < offset + size:
            # start one byte earlier, which may be the end of a line
            at = position - 1
            for block in line_blocks(span._replace(start=span.start + at - offset)):
                if b"\n" in block:
                    return at + block.index(b"\n") + 1
                at += len(block)
            return offset + size
        offset += size
    return position
