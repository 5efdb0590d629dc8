"""Finding the bytes of a corpus in a file, a folder or a pattern, either by named splits or as one text to cut."""

import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path

from refrain.errors import DataError

from .files import Span, Spans, cut_points, part_of, place_of, raw_blocks, size_of, whole
from .splits import SHARES, SPELLINGS, SPLITS, choose, fractions_of, missing


def is_pattern(name: str) -> bool:
    """Whether a name is a pattern such as `reviews/part-*.txt`, and not an existing file or folder."""
    return glob.has_magic(name) and not os.path.exists(name)


def find_byte_splits(
    path: Path,
    *,
    shares: tuple[float, float] = SHARES,
    between_lines: bool = False,
    requested: tuple[str, ...] = SPLITS,
    log: Callable[[str], None] = lambda line: None,
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
    if names_splits(path):
        return _named(path, requested, log)
    spans = one_text(path, log)
    return choose(_cut(spans, fractions_of(shares), between_lines), requested)


def one_text(path: Path, log: Callable[[str], None] = lambda line: None) -> Spans:
    """All bytes of a file, of the files under a folder, or of the files that match a pattern, sorted by path.

    Hidden, empty and unreadable files and folders that are links are skipped.

    Args:
        path: a file, a folder or a pattern.
        log: called with a line of text about the number of empty and unreadable files.

    Raises:
        DataError: when there is no file to read.
    """
    if is_pattern(str(path)):
        found = [Path(name) for name in glob.glob(str(path), recursive=True)]
        files = sorted({file for file in found if not file.is_dir()})
        if not files:
            raise DataError(f"{path}: no file matches this pattern; check its spelling, ** reaches folders below")
        return _readable(files, path, log)
    return _readable(_files_under(path), path, log) if path.is_dir() else whole(path)


def names_splits(path: Path) -> bool:
    """Whether a path is a folder in which a file or folder is named after a split.

    Raises:
        DataError: when a name fits two splits.
    """
    return path.is_dir() and bool(_entries(path))


def _entries(folder: Path) -> dict[str, list[Path]]:
    """Files and folders whose name has the name of a split as a word of letters, by split."""
    found: dict[str, list[Path]] = {}
    for name in _visible(folder):
        if not ((folder / name).is_file() or (folder / name).is_dir()):
            continue
        words = set(re.findall(r"[^\W\d_]+", name.lower()))
        splits = [split for split, spellings in SPELLINGS.items() if words.intersection(spellings)]
        if len(splits) > 1:
            raise DataError(f"{folder / name}: could be the {splits[0]} or the {splits[1]} text; rename it")
        if splits:
            found.setdefault(splits[0], []).append(folder / name)
    return found


def _named(folder: Path, requested: tuple[str, ...], log: Callable[[str], None]) -> dict[str, Spans]:
    entries = _entries(folder)
    splits = {}
    for split in requested:
        paths = entries.get(split, [])
        if not paths and split == "test" != requested[0]:
            continue
        if not paths:
            remedy = f", or {folder}/** for all files as one text to cut"
            raise missing(folder, split, list(_visible(folder)), remedy)
        # shards differ in their numbers; ptb.train.txt and ptb.char.train.txt are the same text twice
        if len({re.sub(r"\d+", "0", path.name) for path in paths}) > 1:
            names = ", ".join(path.name for path in paths[:6]) + (", ..." if len(paths) > 6 else "")
            raise DataError(
                f"{folder}: {len(paths)} files could be the {split} text: {names}; keep one, or let their names differ "
                f"in numbers alone, as in {split}-000.txt, {split}-001.txt"
            )
        files = [file for path in paths for file in (_files_under(path) if path.is_dir() else [path])]
        place = paths[0] if len(paths) == 1 else folder
        splits[split] = whole(files[0]) if len(files) == 1 else _readable(files, place, log)
    return splits


def _visible(folder: Path) -> Iterator[str]:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}") from None
    return (name for name in names if not name.startswith("."))


def _files_under(folder: Path) -> list[Path]:
    files: list[Path] = []
    # a folder that cannot be listed is counted as a file that cannot be read
    for place, folders, names in os.walk(folder, onerror=lambda error: files.append(Path(error.filename))):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files.extend(Path(place, name) for name in names if not name.startswith("."))
    return sorted(files)


def _readable(files: Iterable[Path], place: Path, log: Callable[[str], None]) -> Spans:
    found: list[Span] = []
    empty = unreadable = 0
    for path in files:
        # a pipe is not opened, because that would block until something writes to it
        if not path.is_file() or not os.access(path, os.R_OK):
            unreadable += 1
        elif not path.stat().st_size:
            empty += 1
        else:
            found += whole(path)
    left_out = f"{empty} empty and {unreadable} unreadable file(s) left out" if empty or unreadable else ""
    if not found:
        cause = f"no files to read ({left_out})" if left_out else "no files to read"
        raise DataError(f"{place}: {cause}; give a corpus with text in it")
    if left_out:
        log(f"{place}: {len(found):,} file(s) read, {left_out}")
    return tuple(found)


def _cut(spans: Spans, fractions: tuple[float, ...], between_lines: bool) -> list[Spans]:
    total = size_of(spans)
    parts = len(fractions) + 1
    if total < parts:
        raise DataError(f"{place_of(spans)}: {total} byte(s) cannot be split in {parts}; give more text")
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
            for block in raw_blocks(span._replace(start=span.start + at - offset)):
                if b"\n" in block:
                    return at + block.index(b"\n") + 1
                at += len(block)
            return offset + size
        offset += size
    return position
