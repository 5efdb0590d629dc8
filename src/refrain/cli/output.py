"""Output of commands: one JSON object with `--json`, otherwise text."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from refrain.storage.plain_json import dumps


def print_json(data: Any) -> None:
    """Print one JSON object on standard output. Infinite numbers, which JSON does not have, become null."""
    print(dumps(data), flush=True)


def log(line: str) -> None:
    """Print a line on standard error."""
    print(line, file=sys.stderr)


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
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)
