"""JSON text in which infinite and undefined numbers, which JSON lacks, become null."""

import json
import math
from typing import Any


def dumps(data: Any, *, indent: int | None = None) -> str:
    """Write plain data as JSON text; infinite and undefined numbers become null.

    Args:
        data: dicts, lists and plain values.
        indent: the number of blanks for each level, or None for a single line.
    """
    return json.dumps(_finite(data), indent=indent)


def _finite(data: Any) -> Any:
    match data:
        case dict():
            return {key: _finite(value) for key, value in data.items()}
        case list() | tuple():
            return [_finite(value) for value in data]
        case float() if not math.isfinite(data):
            return None
    return data
