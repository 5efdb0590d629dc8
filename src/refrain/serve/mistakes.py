"""The refusal of a request whose body is invalid: a sentence for each mistake that pydantic finds."""

import re
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from refrain.errors import shortened, shown

from .refused import Refused

MOST_MISTAKES = 5
UNSUPPORTED = "unsupported"
"""The type of a mistake whose message is a sentence already."""
# how pydantic names a type of a field that may have several
_TYPE = re.compile(r"(constrained-)?(str|int|float)|(list|function-)[^.]*\]")


def refusal(error: ValidationError, reference: str) -> Refused:
    """The refusal for what pydantic has found, with a sentence for each mistake.

    Args:
        error: what pydantic has found.
        reference: where the client finds a description of the fields.
    """
    # the input of an invalid body is the body itself
    mistakes = _merged(error.errors(include_url=False, include_context=False))
    first = mistakes[0]
    if first["type"] == "json_invalid":
        cause = first["msg"].removeprefix("Invalid JSON: ")
        return Refused(400, f"the request is not valid JSON: {shortened(cause, 200)}; send one JSON object in UTF-8")
    lines = [_mistake(each) for each in mistakes[:MOST_MISTAKES]]
    more = len(mistakes) - len(lines)
    field = str(first["loc"][0]) if first["loc"] else None
    return Refused(
        422,
        "; ".join([*lines, *([f"and {more} more"] if more else [])]) + f"; {reference} describes the fields",
        field=shortened(field, 100) if field else None,
    )


def _merged(mistakes: Sequence[Any]) -> list[Any]:
    """Merge the mistakes of a field with several types, for which pydantic reports one or more for each type."""
    by_type: dict[Any, dict[str, list[Any]]] = {}
    for mistake in mistakes:
        path = mistake["loc"]
        if len(path) > 1 and isinstance(path[1], str) and _TYPE.fullmatch(path[1]):
            own = {**mistake, "loc": (path[0], *path[2:])}
            by_type.setdefault(path[0], {}).setdefault(path[1], []).append(own)
    several = {field: types for field, types in by_type.items() if len(types) > 1}
    merged: dict[Any, Any] = {}
    for mistake in mistakes:
        path = mistake["loc"]
        if path and path[0] in several:
            types = several[path[0]]
            meant = max((found[0] for found in types.values()), key=_fit)
            merged[path[0]] = {**meant, "types": [_description(name) for name in types]}
        else:
            merged[path] = mistake
    return list(merged.values())


def _fit(mistake: Any) -> tuple[int, bool, int]:
    """Return a key that is larger the more of a value fits a type, by the first mistake."""
    path = mistake["loc"]
    return len(path), not _is_type(mistake), path[-1] if isinstance(path[-1], int) else 0


def _is_type(mistake: Any) -> bool:
    return str(mistake["type"]).endswith("_type")


def _description(type_name: str) -> str:
    """Describe a type that pydantic names, in words of JSON."""
    lists, type_name = type_name.count("list["), type_name.replace("constrained-", "")
    name = "string" if "str" in type_name else "integer" if "int" in type_name else "number"
    if not lists:
        return f"a{'n' * (name == 'integer')} {name}"
    return f"an array of {'arrays of ' * (lists - 1)}{name}s"


def _mistake(mistake: Any) -> str:
    place = shortened(".".join(str(part) for part in mistake["loc"]), 100)
    if mistake["type"] == "string_pattern_mismatch":
        text = f"has the control character {_control(mistake['input'])}; remove it"
    elif mistake["type"] == "missing":
        text = "is missing"
    elif mistake["type"] == "extra_forbidden":
        text = "is not a field of this request"
    elif mistake["type"] == UNSUPPORTED:
        text = mistake["msg"]
    elif "types" in mistake and len(mistake["loc"]) == 1 and _is_type(mistake):
        *others, last = mistake["types"]
        text = f"should be {', '.join(others)} or {last} (got {shown(mistake['input'])})"
    else:
        cause = mistake["msg"].removeprefix("Value error, ")
        text = f"{cause[0].lower()}{cause[1:]} (got {shown(mistake['input'])})"
    return f"{place}: {text}" if place else f"the request: {text}"


def _control(text: str) -> str:
    found = next((sign for sign in text if sign not in "\t\n\r" and (sign < " " or "\x7f" <= sign <= "\x9f")), "\0")
    return f"U+{ord(found):04X}"
