"""Names of settings, and what is said of those that are unknown or of values that do not fit."""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from .experiment import Experiment


class Setting(NamedTuple):
    """A value and where it came from, such as `mine.toml:3` or `command line`."""

    value: Any
    origin: str


def setting_names(group: type[BaseModel] = Experiment, prefix: str = "") -> list[str]:
    """Every setting's dotted name, in the order of its definition.

    Args:
        group: the settings, such as `Experiment`.
        prefix: comes before each name.
    """
    names: list[str] = []
    for name, field in group.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names += setting_names(field.annotation, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names


def group_names(kind: type[BaseModel]) -> list[str]:
    """The dotted name of every group of settings."""
    return list(dict.fromkeys(group for name in setting_names(kind) if (group := name.rpartition(".")[0])))


def unknown(settings: dict[str, Setting], kind: type[BaseModel]) -> list[str]:
    """Take unknown names out of `settings` and say what was wrong with them.

    Args:
        settings: by dotted name; changed in place.
        kind: which settings there are.
    """
    known = setting_names(kind)
    named = [*known, *group_names(kind)]
    problems = []
    for name in [name for name in settings if name not in known]:
        setting = settings.pop(name)
        inside = [other.removeprefix(name + ".") for other in known if other.startswith(name + ".")]
        group, _, last = name.rpartition(".")
        siblings = [other for other in named if other.rpartition(".")[0] == group]
        elsewhere = [other for other in known if other.rpartition(".")[2] == last]
        if inside:
            hint = f"; it is a group of settings: {', '.join(inside)}"
        elif elsewhere:
            hint = f"; did you mean {elsewhere[0]!r}?"
        else:
            hint = nearest(last, [other.rpartition(".")[2] for other in siblings])
        if not hint and not (group and siblings):
            hint = nearest(name, named)
        hint = hint or f"; known here: {', '.join(siblings or named)}"
        problems.append(f"{setting.origin}: {name}: unknown key{hint}")
    return problems


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the known name that is most like one, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def names_none(name: str, kind: type[BaseModel]) -> bool:
    """Whether `none` is a choice that a setting names, and not the lack of a value.

    Args:
        name: dotted.
        kind: which settings there are.
    """
    group: Any = kind
    *groups, last = name.split(".")
    for part in groups:
        group = group.model_fields[part].annotation
    return "none" in get_args(group.model_fields[last].annotation)


def describe(details: ErrorDetails, settings: Mapping[str, Setting], kind: type[BaseModel]) -> str:
    """One line for one mistake: origin, name, what was expected, what was given.

    Args:
        details: what the validator says.
        settings: what was given, and where.
        kind: which settings there are.
    """
    place = [str(part) for part in details["loc"]]
    message = details["msg"].removeprefix("Value error, ")
    if details["type"] == "value_error":
        # a rule between settings: its text opens with the setting it speaks of
        first = re.split(r"[:,\s]", message)[0]
        name = ".".join([*place, first])
        origin = settings[name].origin if name in settings else _rule_origin(place, message, settings)
        return f"{origin}: {'.'.join([*place, message])}"
    name = ".".join(part for part in place if not part.isdigit() and "-" not in part and "[" not in part)
    while name and name not in settings and "." in name and name not in setting_names(kind):
        name = name.rpartition(".")[0]
    origin = settings[name].origin if name in settings else "recipe"
    return f"{origin}: {name}: {_expectation(details)} (got {details['input']!r})"


def _rule_origin(place: list[str], message: str, settings: Mapping[str, Setting]) -> str:
    """Who broke a rule between settings: the last to change one that the rule speaks of, or else one of its group."""
    prefix = "".join(part + "." for part in place)
    changed = [name for name in settings if name.startswith(prefix)]
    named = [name for name in changed if name.removeprefix(prefix).partition(".")[0] in re.findall(r"\w+", message)]
    return settings[(named or changed)[-1]].origin if changed else "recipe"


def _expectation(details: ErrorDetails) -> str:
    context = details.get("ctx", {})
    match details["type"]:
        case "greater_than":
            return f"must be greater than {context['gt']}"
        case "greater_than_equal":
            return f"must be at least {context['ge']}"
        case "less_than":
            return f"must be less than {context['lt']}"
        case "less_than_equal":
            return f"must be at most {context['le']}"
        case "int_parsing" | "int_type" | "int_from_float":
            return "must be a whole number"
        case "float_parsing" | "float_type":
            return "must be a number"
        case "finite_number":
            return "must be finite"
        case "bool_parsing" | "bool_type":
            return "must be true or false"
        case "literal_error":
            return f"must be {context['expected']}"
        case "string_type":
            return "must be text"
        case "tuple_type":
            return "must be a list, as in [200,200]"
        case "missing" | "too_long":
            return "must be two numbers, as in [0.9,0.05]"
        case "too_short":
            return "must not be empty"
        case _:
            message = details["msg"]
            return message[0].lower() + message[1:]
