"""The texts of many files, of which compressed ones are unpacked by several processes."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..parallel.processes import do_job, is_small
from .files import Piece, Span, Spans
from .folders import Log, readable
from .forms import packing_of
from .packed import head_of, text_file


def text_files(
    files: Iterable[Path], place: Path, log: Log = lambda line: None, *, workers: int | None = None
) -> Spans:
    """The text of those of some files that are not empty and can be read.

    Args:
        files: the files, in order.
        place: their folder or pattern, for messages.
        log: called with a line of text when files are left out or unpacked.
        workers: the number of processes that unpack, see `do_job`.

    Raises:
        DataError: when there is no file to read, or one is no text.
    """
    every = list(files)
    packed = tuple(
        Span(path, 0, path.stat().st_size)
        for path in every
        if path.is_file() and os.access(path, os.R_OK) and packing_of(head_of(path)) is not None
    )
    if len(packed) > 1 and workers != 1 and not is_small([packed], workers):
        log(f"{place}: unpacking {len(packed):,} files, or finding them in the cache")
        do_job("unpack", {}, ((Piece(span),) for span in packed), workers=workers)
    return readable(every, place, lambda file: text_file(file, log), log)


class Unpacker:
    """The job `unpack`: unpacks whole files into the cache, where they are found afterwards; see `Job`."""

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Unpacker":
        """The job, which has no settings."""
        return cls()

    def work(self, number: int, pieces: tuple[Piece, ...]) -> None:
        """Unpack some files."""
        for piece in pieces:
            text_file(piece.span.path)

    def finish(self) -> None:
        """Nothing: everything is in the cache."""
