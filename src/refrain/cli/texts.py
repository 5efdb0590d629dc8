"""Texts that commands read, and files that they must not write over."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

Errors = Literal["strict", "replace"]


def lines_of(file: str, errors: Errors) -> Iterator[str]:
    """The lines of a file without their ends, read as they are needed; - is standard input.

    Raises:
        DataError: when the file is missing or empty, or not UTF-8.
    """
    from refrain.data.text.files import blocks, whole
    from refrain.errors import DataError

    if file != "-":
        try:
            spans = whole(Path(file))
        except DataError as error:
            raise DataError(f"{error}; give a text file, or - for standard input") from None
        for text in blocks(spans, errors):
            yield from text.split("\n")[:-1]
        return
    offset = 0
    for raw in sys.stdin.buffer:
        try:
            line = raw.decode("utf-8", errors).removesuffix("\n")
            yield line if offset else line.removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            raise DataError(
                f"standard input: invalid UTF-8 at byte {offset + error.start}; --errors replace goes on"
            ) from None
        offset += len(raw)


def document_of(file: str, errors: Errors) -> str:
    """A file as one text, without the newline at its end; - is standard input.

    Raises:
        DataError: when the file is missing or empty, or not UTF-8.
    """
    return "\n".join(lines_of(file, errors))


def files_of(places: Sequence[str]) -> list[str]:
    """The files that are named, and in the place of a folder those that stand in it, in the order of their names.

    Raises:
        DataError: when a folder holds no file.
    """
    from refrain.errors import DataError

    found: list[str] = []
    for place in places:
        if place == "-" or not Path(place).is_dir():
            found.append(place)
            continue
        inside = sorted(str(path) for path in Path(place).iterdir() if path.is_file() and path.name[0] != ".")
        if not inside:
            raise DataError(f"{place}: the folder holds no file")
        found += inside
    return found


def refuse_to_overwrite(files: Sequence[Path], *, force: bool, option: str = "--out") -> None:
    """Stop before work is done whose result could not be put where it is meant to go.

    Args:
        files: that are to be written.
        force: they may exist.
        option: that names them, for the message.

    Raises:
        UserError: when a file exists, unless `force`, or cannot be made.
    """
    from refrain.errors import UserError

    for file in files:
        if file.is_dir() or not file.parent.is_dir():
            raise UserError(f"{option}: {file} must be a file in a folder that exists")
        if file.exists() and not force:
            raise UserError(f"{option}: {file} exists; choose another place, or replace it with --force")
