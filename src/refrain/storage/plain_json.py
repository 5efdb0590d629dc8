"""JSON text, in which infinite and undefined numbers become null; text from elsewhere is read within limits."""

import json
import math
from typing import Any

DEPTH = 100
"""The most levels of lists and objects. What is written here has ten at most; deeper ones end in a RecursionError."""
DIGITS = 300
"""The most digits of a whole number, so that it always fits a float, and is read in no time."""


def dumps(data: Any, *, indent: int | None = None) -> str:
    """Write plain data as JSON text; infinite and undefined numbers become null.

    Args:
        data: dicts, lists and plain values.
        indent: the number of blanks for each level, or None for a single line.
    """
    return json.dumps(_finite(data), indent=indent)


def loads(text: str | bytes) -> Any:
    """Read JSON text that may come from elsewhere.

    Args:
        text: the text, or its bytes in UTF-8.

    Returns:
        Plain data.

    Raises:
        ValueError: when the text is not JSON, is nested too deeply, or has a number with too many digits.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    too_deep = f"is nested more than {DEPTH} levels deep"
    try:
        data = json.loads(text, parse_int=_integer)
    except RecursionError:
        raise ValueError(too_deep) from None
    # text with few brackets cannot be deep, and most text has few
    if text.count("[") + text.count("{") > DEPTH and _deeper_than(data, DEPTH):
        raise ValueError(too_deep)
    return data


def _integer(digits: str) -> int:
    if len(digits) > DIGITS:
        raise ValueError(f"has a number of {len(digits):,} digits; at most {DIGITS} are read")
    return int(digits)


def _deeper_than(data: Any, depth: int) -> bool:
    level = [data]
    for _ in range(depth):
        level = [
            part
            for value in level
            if isinstance(value, dict | list)
            for part in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return False
    return any(isinstance(value, dict | list) for value in level)


def _finite(data: Any) -> Any:
    match data:
        case dict():
            return {key: _finite(value) for key, value in data.items()}
        case list() | tuple():
            return [_finite(value) for value in data]
        case float() if not math.isfinite(data):
            return None
    return data
