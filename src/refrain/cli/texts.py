"""Reading texts for commands, and checks before files are written."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from .options import Errors


def lines_of(file: str, errors: Errors) -> Iterator[str]:
    """Yield the lines of a file without their line ends; - is standard input.

    Raises:
        DataError: when the file is missing, empty or not UTF-8.
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
                f"standard input: invalid UTF-8 at byte {offset + error.start}; use --errors replace to read on"
            ) from None
        offset += len(raw)


def check_files(files: Sequence[str]) -> None:
    """Check that files can be opened, before a model is loaded for them; - is standard input.

    Raises:
        DataError: when a file is missing or empty.
    """
    from refrain.data.text.files import whole
    from refrain.errors import DataError

    for file in files:
        if file != "-":
            try:
                whole(Path(file))
            except DataError as error:
                raise DataError(f"{error}; give a text file, or - for standard input") from None


def document_of(file: str, errors: Errors) -> str:
    """Read a file as one text, without the newline at its end; - is standard input.

    Raises:
        DataError: when the file is missing, empty or not UTF-8.
    """
    return "\n".join(lines_of(file, errors))


def files_of(paths: Sequence[str]) -> list[str]:
    """List files; a folder is replaced by the files in it, sorted by name.

    Raises:
        DataError: when a folder holds no file.
    """
    from refrain.errors import DataError

    found: list[str] = []
    for given in paths:
        if given == "-" or not Path(given).is_dir():
            found.append(given)
            continue
        inside = sorted(str(path) for path in Path(given).iterdir() if path.is_file() and path.name[0] != ".")
        if not inside:
            raise DataError(f"{given}: the folder contains no file; give another folder or a file")
        found += inside
    return found


def refuse_to_overwrite(files: Sequence[Path], *, force: bool, option: str = "--out") -> None:
    """Check that files can be written, before the work whose results they receive.

    Args:
        files: the files to write.
        force: whether existing files are replaced.
        option: the command line option that names them, for the message.

    Raises:
        UserError: when a file exists and `force` is not set, or a file cannot be created.
    """
    from refrain.errors import UserError

    for file in files:
        if file.is_dir() or not file.parent.is_dir():
            raise UserError(f"{option}: {file} must be a file in a folder that exists")
        if file.exists() and not force:
            raise UserError(f"{option}: {file} exists; choose another path, or replace it with --force")
