"""Reading text files of any size in blocks of whole lines."""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from refrain.errors import DataError, InvalidUTF8Error, quantity
from refrain.storage.regular_files import open_regular

from .forms import invalid_remedy

BLOCK_BYTES = 1 << 20

Errors = Literal["strict", "replace", "surrogateescape"]

BYTE_ORDER_MARK = "\ufeff"
_MARKED_LINES = re.compile(f"^{BYTE_ORDER_MARK}+", re.MULTILINE)


class Span(NamedTuple):
    """A part of a file: the bytes from `start` up to `stop`."""

    path: Path
    start: int
    stop: int


# a text may consist of several files
Spans = tuple[Span, ...]


class Piece(NamedTuple):
    """A part of a file that is read by itself: what is read of all pieces is what is read of the file.

    Attributes:
        span: its bytes.
        begins_line: whether a line begins with it.
        ends_text: whether it ends the text of its file, so that a newline is added to a last line without one.
        returns: whether carriage returns are the line ends of the file.
    """

    span: Span
    begins_line: bool = True
    ends_text: bool = True
    returns: bool = False


def whole(path: Path, *, if_empty: str = "; give a file with text") -> Spans:
    """The text that is all of a file.

    Args:
        path: the file.
        if_empty: the remedy in the message about an empty file.

    Raises:
        DataError: when the file is missing, unreadable, empty, or something else than a file, such as a pipe.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        remedy = "; write it to a file first" if path.is_fifo() else ""
        raise DataError(f"{path}: {error.strerror}{remedy}") from None
    if size == 0:
        raise DataError(f"{path}: the file is empty{if_empty}")
    return (Span(path, 0, size),)


def size_of(spans: Spans) -> int:
    """The number of bytes of a text."""
    return sum(span.stop - span.start for span in spans)


def place_of(spans: Spans) -> str:
    """The file of a text and the number of further files, for messages."""
    more = len(spans) - 1
    return f"{spans[0].path}" + (f" and {quantity(more, 'more file')}" if more else "")


def part_of(spans: Spans, start: int, stop: int) -> Spans:
    """The bytes of a text from `start` up to `stop`, counted across its files."""
    found = []
    offset = 0
    for span in spans:
        size = span.stop - span.start
        first = max(start - offset, 0)
        last = min(stop - offset, size)
        if first < last:
            found.append(Span(span.path, span.start + first, span.start + last))
        offset += size
    return tuple(found)


def sha256_of(spans: Spans) -> str:
    """The sha256 of the bytes of a text, in hexadecimal."""
    digest = hashlib.sha256()
    for span in spans:
        for block in raw_blocks(span):
            digest.update(block)
    return digest.hexdigest()


def blocks(
    spans: Spans, errors: Errors = "strict", *, whole_lines: bool = True, whole_words: bool = True
) -> Iterator[str]:
    """A text in blocks that end with a newline, which is added where the last line of a file has none.

    A file whose only line ends are carriage returns, as on old Macs, is read by these lines. Byte order marks at the
    beginning of lines are left out: a text that was joined from several files has more than one.

    Args:
        spans: the text.
        errors: how invalid UTF-8 is handled: as an error, as U+FFFD, or as Python's surrogate escapes.
        whole_lines: False lets a block also end at a blank, so that a text without line ends needs little memory.
        whole_words: False lets a block also end between any two characters, so that a text without blanks needs little
            memory. Both have to be False for that.

    Raises:
        InvalidUTF8Error: naming file and offset of the first invalid byte, with `strict`.
        DataError: when the file cannot be read any more.
    """
    for span in spans:
        piece = Piece(span, returns=ends_lines_with_returns(span.path))
        yield from piece_blocks(piece, errors, whole_lines=whole_lines, whole_words=whole_words)


def piece_blocks(
    piece: Piece, errors: Errors = "strict", *, whole_lines: bool = True, whole_words: bool = True
) -> Iterator[str]:
    """A piece of a text in blocks, as `blocks` returns those of a text.

    Raises:
        InvalidUTF8Error: as `blocks`.
        DataError: as `blocks`.
    """
    pending: list[bytes] = []
    path, offset, ended = piece.span.path, piece.span.start, piece.begins_line
    for raw in _line_blocks(piece.span, piece.returns):
        cut = raw.rfind(b"\n") + 1
        if not cut and not whole_lines:
            # blanks at the end stay with what follows, or the end of their line would be in another block
            words = raw.rstrip(b" \t\r")
            cut = max(words.rfind(b" "), words.rfind(b"\t")) + 1
            cut = cut or (0 if whole_words else _last_character(raw))
        if not cut:
            pending.append(raw)
            continue
        block = b"".join([*pending, raw[:cut]])
        pending = [raw[cut:]]
        yield _decode(block, path, offset, errors, begins_line=ended)
        offset += len(block)
        ended = block.endswith(b"\n")
    rest = b"".join(pending)
    if piece.ends_text and (rest or not ended):
        rest += b"\n"
    if rest:
        yield _decode(rest, path, offset, errors, begins_line=ended)


def _last_character(raw: bytes) -> int:
    """Where the last character of some UTF-8 begins, which may be incomplete; or the end, if it is invalid there."""
    for at in range(len(raw) - 1, max(len(raw) - 5, -1), -1):
        if raw[at] & 0xC0 != 0x80:
            return at
    return len(raw)


def line_blocks(span: Span) -> Iterator[bytes]:
    """The bytes of a part of a file, a block at a time, in which a newline ends each line.

    Raises:
        DataError: when the file was removed, replaced or truncated since it was found.
    """
    return _line_blocks(span, ends_lines_with_returns(span.path))


def _line_blocks(span: Span, returns: bool) -> Iterator[bytes]:
    return (raw.replace(b"\r", b"\n") for raw in raw_blocks(span)) if returns else raw_blocks(span)


def ends_lines_with_returns(path: Path) -> bool:
    """Whether the only line ends of a file are carriage returns. A file is read up to its first newline.

    Raises:
        DataError: when the file cannot be read.
    """
    returns = False
    for raw in raw_blocks(Span(path, 0, os.path.getsize(path) if path.exists() else 1)):
        if b"\n" in raw:
            return False
        returns = returns or b"\r" in raw
    return returns


def count_lines(span: Span) -> int:
    """The number of lines of a part of a file; the last may lack its end."""
    total, last = 0, b""
    for raw in line_blocks(span):
        total += raw.count(b"\n")
        last = raw[-1:]
    return total + (last != b"\n")


def line_offsets(span: Span, fractions: tuple[float, ...]) -> list[int]:
    """The byte offsets that cut a file between lines at given fractions of its lines.

    Every part has at least one line.

    Raises:
        DataError: when the file has fewer lines than parts.
    """
    total = count_lines(span)
    parts = len(fractions) + 1
    if total < parts:
        raise DataError(f"{span.path}: {quantity(total, 'line')} cannot be split in {parts}; give a folder of splits")
    cuts = cut_points(total, fractions)
    offsets: list[int] = []
    seen, offset = 0, span.start
    for raw in line_blocks(span):
        count = raw.count(b"\n")
        while len(offsets) < len(cuts) and seen + count >= cuts[len(offsets)]:
            at = -1
            for _ in range(cuts[len(offsets)] - seen):
                at = raw.index(b"\n", at + 1)
            offsets.append(offset + at + 1)
        seen += count
        offset += len(raw)
    return offsets


def line_start(span: Span, number: int) -> int:
    """The byte offset after the first `number` lines of a part of a file."""
    offset = span.start
    for raw in line_blocks(span):
        count = raw.count(b"\n")
        if count >= number:
            at = -1
            for _ in range(number):
                at = raw.index(b"\n", at + 1)
            return offset + at + 1
        number -= count
        offset += len(raw)
    return span.stop


def cut_points(total: int, fractions: Sequence[float]) -> list[int]:
    """Where to cut a sequence of `total` items at given fractions so that every part has at least one item."""
    parts = len(fractions) + 1
    points = [
        min(max(round(total * part), index + 1), total - parts + index + 1) for index, part in enumerate(fractions)
    ]
    return [max(point, index and points[index - 1] + 1) for index, point in enumerate(points)]


def raw_blocks(span: Span) -> Iterator[bytes]:
    """The bytes of a part of a file, a block at a time.

    Raises:
        DataError: when the file was removed, replaced or truncated since it was found.
    """
    try:
        with open_regular(span.path) as file:
            file.seek(span.start)
            remaining = span.stop - span.start
            while remaining and (raw := file.read(min(BLOCK_BYTES, remaining))):
                remaining -= len(raw)
                yield raw
    except OSError as error:
        cause = f"cannot be read any more ({error.strerror})"
        raise DataError(f"{span.path}: {cause}; put the file back as it was") from None
    if remaining:
        raise DataError(f"{span.path}: has become shorter since it was found; put the file back as it was")


def _decode(raw: bytes, path: Path, offset: int, errors: Errors, *, begins_line: bool) -> str:
    try:
        text = raw.decode("utf-8", errors=errors)
    except UnicodeDecodeError as error:
        raise InvalidUTF8Error(
            f"{path}: invalid UTF-8 at byte {offset + error.start} (0x{raw[error.start]:02x}); {invalid_remedy(path)}"
        ) from None
    return without_marks(text, begins_line=begins_line)


def without_marks(text: str, *, begins_line: bool = True) -> str:
    """A text without the byte order marks at the beginning of its lines, which are no part of their first words.

    Args:
        text: the text.
        begins_line: whether the text begins at the beginning of a line.
    """
    if BYTE_ORDER_MARK not in text:
        return text
    if begins_line:
        return _MARKED_LINES.sub("", text)
    end = text.find("\n") + 1
    return text[:end] + _MARKED_LINES.sub("", text[end:]) if end else text
