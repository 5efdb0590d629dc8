"""Many files as one text of lines: those that match a pattern, or those of a folder without splits."""

from itertools import pairwise
from pathlib import Path

from refrain.errors import DataError, quantity

from .files import Spans, count_lines, cut_points, line_start, part_of, place_of, size_of
from .folders import Log, all_files, files_under, holds_splits, is_text, left_out, named_entries, visible
from .shards import is_pattern, pattern_files
from .unpacking import text_files


def is_joined(path: Path) -> bool:
    """Whether a path is a pattern, or a folder of texts in which nothing is named after a split.

    A folder that holds a folder of splits is none: that folder is meant.

    Args:
        path: a file, a folder or a pattern.

    Raises:
        DataError: when the folder cannot be listed, or a name fits two splits.
    """
    if is_pattern(str(path)):
        return True
    if not path.is_dir() or named_entries(path):
        return False
    return any(map(is_text, files_under(path))) and not any(
        (path / name).is_dir() and holds_splits(path / name) for name in visible(path)
    )


def joined_text(path: Path, log: Log = lambda line: None, *, workers: int | None = None) -> Spans:
    """The text of all files that match a pattern, or of all texts below a folder, in natural order.

    Hidden, empty and unreadable files are skipped, and in a folder those that are no text by their name.

    Args:
        path: a folder or a pattern.
        log: called with a line of text about files that are skipped or unpacked.
        workers: the number of processes that unpack compressed files.

    Raises:
        DataError: when there is no file to read, or one is no text.
    """
    if is_pattern(str(path)):
        return text_files(pattern_files(path), path, log, workers=workers)
    every = files_under(path)
    files = [file for file in every if is_text(file)]
    others = left_out(every, files, path)
    log(
        f"{path}: no file is named after a split, so the folder is one text of {quantity(len(files), 'file')}"
        + (f"; {others}; to read all files, give the pattern {all_files(path)}" if others else "")
    )
    return text_files(files, path, log, workers=workers)


def cut_joined(spans: Spans, fractions: tuple[float, ...]) -> list[Spans]:
    """A text of many files in parts, which are cut between lines at given fractions of all lines.

    Args:
        spans: the text.
        fractions: where it is cut; every part has at least one line.

    Raises:
        DataError: when the text has fewer lines than parts.
    """
    lines = [count_lines(span) for span in spans]
    parts = len(fractions) + 1
    if sum(lines) < parts:
        raise DataError(f"{place_of(spans)}: {quantity(sum(lines), 'line')} cannot be split in {parts}; give more text")
    edges = [0]
    for cut in cut_points(sum(lines), fractions):
        offset = before = 0
        for span, count in zip(spans, lines, strict=True):
            if cut <= before + count:
                edges.append(offset + line_start(span, cut - before) - span.start)
                break
            before += count
            offset += span.stop - span.start
    edges.append(size_of(spans))
    return [part_of(spans, start, stop) for start, stop in pairwise(edges)]
