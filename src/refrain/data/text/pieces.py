"""Cutting a text into pieces that several processes read side by side."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from .files import Piece, Span, Spans, ends_lines_with_returns, raw_blocks

PIECE_BYTES = 1 << 23

# a word that follows a blank in its line; the end of a line, after which blanks are a part of the line, is not parted
_WORD = re.compile(rb"[ \t][^ \t\r\n]")


def pieces_of(spans: Spans, *, whole_lines: bool = True) -> Iterator[tuple[Piece, ...]]:
    """A text in groups of pieces of about 8 MiB, which do not depend on the number of processes.

    A large file is cut after the first end of a line that follows each 8 MiB. Small files are grouped.

    Args:
        spans: the text.
        whole_lines: False lets a piece also end after a blank, so that a text without line ends has several.
    """
    group: list[Piece] = []
    size = 0
    for piece in _pieces(spans, whole_lines):
        group.append(piece)
        size += piece.span.stop - piece.span.start
        if size >= PIECE_BYTES:
            yield tuple(group)
            group, size = [], 0
    if group:
        yield tuple(group)


def _pieces(spans: Spans, whole_lines: bool) -> Iterator[Piece]:
    for span in spans:
        returns = ends_lines_with_returns(span.path)
        start, begins_line = span.start, True
        while start < span.stop:
            stop, ends_line = _cut(span, start + PIECE_BYTES, returns, whole_lines)
            yield Piece(span._replace(start=start, stop=stop), begins_line, stop == span.stop, returns)
            start, begins_line = stop, ends_line


def _cut(span: Span, target: int, returns: bool, whole_lines: bool) -> tuple[int, bool]:
    """Where a piece ends that has at least the bytes before `target`, and whether a line ends there."""
    if target >= span.stop:
        return span.stop, True
    at = target - 1
    for raw in raw_blocks(span._replace(start=at)):
        end = raw.find(b"\r" if returns else b"\n")
        if end >= 0:
            return at + end + 1, True
        if not whole_lines and (word := _WORD.search(raw)):
            return at + word.start() + 1, False
        at += len(raw)
    return span.stop, True


def as_document(pieces: Iterable[Piece]) -> list[list[object]]:
    """Pieces as plain data."""
    return [[str(piece.span.path), *piece.span[1:], *piece[1:]] for piece in pieces]


def from_document(document: Iterable[list[object]]) -> tuple[Piece, ...]:
    """The pieces of plain data that `as_document` made."""
    return tuple(
        Piece(Span(Path(str(path)), int(str(start)), int(str(stop))), *map(bool, more))
        for path, start, stop, *more in document
    )
