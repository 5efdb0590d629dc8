"""Output of commands: one JSON object with `--json`, otherwise text. Control characters are shown, not sent."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from refrain.storage.plain_json import dumps
from refrain.storage.plain_text import log_line, visible

_follows = False


def print_json(data: Any) -> None:
    """Print one JSON object on standard output. Infinite numbers, which JSON does not have, become null."""
    print(dumps(data), flush=True)


def print_line(text: str) -> None:
    """Print a text as one line on standard output."""
    print(visible(text))


def print_next(*commands: str) -> None:
    """Print the commands that may come next, one on each line, on standard output.

    Args:
        commands: the commands, whose paths are quoted for a shell.
    """
    for number, command in enumerate(commands):
        print_line(f"{'' if number else 'next:':7}{command}")


def for_output(text: str) -> str:
    """The text of a model or a user as it is written to standard output.

    A pipe or a file gets it unchanged. On a terminal, control characters except newlines and tabs are shown.
    """
    return visible(text, keep="\n\t") if sys.stdout.isatty() else text


def log(line: str) -> None:
    """Print a line on standard error, unless another process does the same and prints it."""
    if not _follows:
        log_line(line)


def follow() -> None:
    """Let another process print the lines of `log`, which does the same as this one."""
    global _follows
    _follows = True


def check_picture(
    option: str, path: Path, endings: Sequence[str], inputs: Iterable[str | Path], *, force: bool
) -> None:
    """Check that a picture can be drawn and written, before the work whose results it shows.

    Args:
        option: the option that names the file, for messages.
        path: the file.
        endings: the endings that a file of the option may have.
        inputs: what the command reads.
        force: whether a file that exists is replaced.

    Raises:
        UserError: when the file cannot be written there, exists or is read, or matplotlib is missing.
    """
    from refrain.errors import UserError
    from refrain.pictures import check_matplotlib
    from refrain.storage.output_checks import check_outputs

    if path.suffix not in endings:
        raise UserError(f"{option} must end in {' or '.join(endings)} (got {path.name!r})")
    check_outputs([(option, path)], inputs, force=force)
    check_matplotlib()


def log_written(*paths: Path) -> None:
    """Print on standard error that files or folders were written."""
    for path in paths:
        log(f"wrote {path}")


def table(rows: list[list[str]]) -> str:
    """Format rows of cells as aligned columns. The first row is the heading."""
    cells = [[visible(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join(lines)
