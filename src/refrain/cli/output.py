"""What commands print: one JSON object with `--json`, else text."""

import sys
from typing import Any

from refrain.storage.plain_json import dumps


def print_json(data: Any) -> None:
    """Exactly one JSON object on standard output. Infinite figures become null, which JSON lacks a number for."""
    print(dumps(data), flush=True)


def say(line: str) -> None:
    """A line on standard error."""
    print(line, file=sys.stderr)


def table(rows: list[list[str]]) -> str:
    """Rows of text as columns; the first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)
