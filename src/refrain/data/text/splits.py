"""Finding the training, validation and test text of a word corpus in a folder or a file."""

import re
from collections.abc import Sequence
from itertools import islice, pairwise
from pathlib import Path

from refrain.arguments import path_of
from refrain.errors import DataError, quantity

from .files import BLOCK_BYTES, Span, Spans, count_lines, cut_points, line_offsets, raw_blocks
from .folders import SPELLINGS as SPELLINGS
from .folders import SPLITS as SPLITS
from .folders import (
    Log,
    all_files,
    files_of_splits,
    files_under,
    is_shard,
    is_text,
    left_out,
    missing,
    named_entries,
    reads_as_text,
)
from .packed import text_file
from .unpacking import text_files

SHARES = (0.9, 0.05)


def find_splits(
    path: str | Path,
    *,
    shares: tuple[float, float] = SHARES,
    requested: tuple[str, ...] = SPLITS,
    log: Log = lambda line: None,
    workers: int | None = None,
) -> dict[str, Spans]:
    """The text of each split of a word corpus.

    Args:
        path: a folder with files or folders that are named after the splits, or one plain file, which is cut between
            lines, in the order of the text; a file of fewer lines than splits is cut between words.
        shares: the shares of the lines of a plain file that are `train` and `valid`; any rest is `test`.
        requested: the splits to look for. A missing `test` is left out; any other missing split is an error.
        log: called with a line of text about files that are joined, left out or unpacked, and about a cut in a line.
        workers: the number of processes that unpack compressed files.

    Returns:
        The text of each split, by name.

    Raises:
        DataError: when something is missing, empty, ambiguous or no text.
    """
    path = path_of(path, "path")
    if path.is_dir():
        return _in_folder(path, requested, log, workers)
    (file,) = text_file(path, log)
    fractions = fractions_of(shares)
    lines = count_lines(file)
    if lines > len(fractions):
        offsets = line_offsets(file, fractions)
    else:
        offsets = _word_offsets(file, fractions, lines)
        if requested[0] == SPLITS[0]:
            log(f"{path}: has {quantity(lines, 'line')}, and is cut between words in {len(fractions) + 1}")
    edges = [file.start, *offsets, file.stop]
    return choose([(file._replace(start=start, stop=stop),) for start, stop in pairwise(edges)], requested)


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


def _in_folder(folder: Path, requested: tuple[str, ...], log: Log, workers: int | None) -> dict[str, Spans]:
    found = files_of_splits(folder, requested, reads_as_text, log)
    splits = {}
    for split in requested:
        if split in found:
            splits[split] = _text_of(found[split], folder, log, workers)
        elif split != "test" or split == requested[0]:
            unnamed = files_under(folder) and not named_entries(folder)
            remedy = f", or the pattern {all_files(folder)} for all files as one text" if unnamed else ""
            raise missing(folder, split, remedy)
    return splits


def _text_of(paths: list[Path], folder: Path, log: Log, workers: int | None) -> Spans:
    if len(paths) == 1 and not paths[0].is_dir():
        return text_file(paths[0], log)
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        inside = files_under(path)
        shards = [file for file in inside if is_shard(file)] or [file for file in inside if is_text(file)]
        if others := left_out(inside, shards, path):
            log(f"{path}: {others}; to read one, end its name in .txt")
        files += shards
    place = paths[0] if len(paths) == 1 else folder
    return text_files(files, place, log, workers=workers)


def _word_offsets(span: Span, fractions: tuple[float, ...], lines: int) -> list[int]:
    """The byte offsets of the words that begin nearest after given fractions of a text of few lines.

    A text of a few words is cut at these fractions of its words.
    """
    parts = len(fractions) + 1
    size = span.stop - span.start
    offsets = [_word_start(span, span.start + point) for point in cut_points(size, fractions)] if size >= parts else []
    edges = [span.start, *offsets, span.stop]
    if offsets and all(_has_words(span._replace(start=start, stop=stop)) for start, stop in pairwise(edges)):
        return offsets
    starts = [word.start() for raw in islice(raw_blocks(span), 1) for word in re.finditer(rb"[^ \t\r\n]+", raw)]
    if size > BLOCK_BYTES or len(starts) < parts:
        raise DataError(
            f"{span.path}: {quantity(lines, 'line')} of {quantity(len(starts), 'word')} cannot be split in {parts}; "
            "give more text, or a folder of splits"
        )
    return [span.start + starts[number] for number in cut_points(len(starts), fractions)]


def _word_start(span: Span, position: int) -> int:
    """The offset after the first blank at or before a position > 0 and after it; the end where there is none."""
    # start one byte earlier, which may be a blank
    at = position - 1
    for raw in raw_blocks(span._replace(start=at)):
        if blank := re.search(rb"[ \t\r\n]", raw):
            return at + blank.end()
        at += len(raw)
    return span.stop


def _has_words(span: Span) -> bool:
    return span.start < span.stop and any(raw.strip(b" \t\r\n") for raw in raw_blocks(span))
