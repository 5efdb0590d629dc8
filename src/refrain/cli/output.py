"""What commands print: one JSON object with `--json`, else text."""

import json
import math
from typing import Any


def print_json(data: Any) -> None:
    """Exactly one JSON object on standard output. Infinite figures become null, which JSON lacks a number for."""
    print(json.dumps(_finite(data)), flush=True)


def _finite(data: Any) -> Any:
    match data:
        case dict():
            return {key: _finite(value) for key, value in data.items()}
        case list() | tuple():
            return [_finite(value) for value in data]
        case float() if not math.isfinite(data):
            return None
    return data


def table(rows: list[list[str]]) -> str:
    """Rows of text as columns; the first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)
