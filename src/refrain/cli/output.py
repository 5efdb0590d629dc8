"""Output of commands: one JSON object with `--json`, otherwise text."""

import sys
from typing import Any

from refrain.storage.plain_json import dumps


def print_json(data: Any) -> None:
    """Print one JSON object on standard output. Infinite numbers, which JSON does not have, become null."""
    print(dumps(data), flush=True)


def log(line: str) -> None:
    """Print a line on standard error."""
    print(line, file=sys.stderr)


def table(rows: list[list[str]]) -> str:
    """Format rows of cells as aligned columns. The first row is the heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)
