"""Recipe, TOML file and `a.b=value` words become one experiment, and every mistake is shown with its origin."""

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from refrain.errors import UserError

from .experiment import Experiment
from .iss_json import iss_settings, read_iss_json
from .sparsity import Sparsity

COMMAND_LINE = "command line"


class Setting(NamedTuple):
    """A value and where it came from, such as `mine.toml:3` or `command line`."""

    value: Any
    origin: str


def setting_names(group: type[BaseModel] = Experiment, prefix: str = "") -> list[str]:
    """Every setting's dotted name, in the order of its definition."""
    names: list[str] = []
    for name, field in group.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names += setting_names(field.annotation, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names


def _group_names() -> list[str]:
    return list(dict.fromkeys(group for name in setting_names() if (group := name.rpartition(".")[0])))


def resolve(
    source: str,
    words: Iterable[str],
    recipes: Mapping[str, Callable[[], Experiment]],
    *,
    corpus: str | None = None,
    iss_json: str | None = None,
) -> Experiment:
    """Merge a recipe or TOML file with settings from the command line.

    Args:
        source: a recipe's name, or the path of a TOML file that may extend one.
        words: settings such as `training.epochs=3`; values are read as TOML, else as text.
        recipes: the known recipes.
        corpus: takes the place of `data.corpus`, where given.
        iss_json: the path of a JSON file of iss-rnns; it comes after recipe and TOML file and before the words.

    Returns:
        The validated experiment.

    Raises:
        UserError: with one line for each mistake, all of them at once.
    """
    base, settings = _source(source, recipes)
    problems: list[str] = []
    given: dict[str, Setting] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            problems.append(f"{COMMAND_LINE}: {word!r} is not a setting; write name=value, as in training.epochs=3")
        else:
            given[name.strip()] = Setting(value_of(text.strip()), COMMAND_LINE)
    if corpus is not None:
        given["data.corpus"] = Setting(corpus, "--data")
    if iss_json is not None:
        problems += _import_iss_json(iss_json, base, settings, given)
    settings = {name: setting for name, setting in settings.items() if name not in given} | given
    problems += _unknown(settings)
    merged = base.model_dump()
    for name, setting in settings.items():
        _put(merged, name, "none" if setting.value is None and _names_none(name) else setting.value)
    try:
        experiment = Experiment.model_validate(merged)
    except ValidationError as error:
        # a list of wrong items is empty to the validator, and not to the user
        found = [each for each in error.errors() if each["type"] != "too_short" or not each["input"]]
        problems += [_describe(details, settings) for details in found]
    if problems:
        raise UserError("\n".join(dict.fromkeys(problems)))
    return experiment


def _import_iss_json(
    path: str, base: Experiment, settings: dict[str, Setting], given: Mapping[str, Setting]
) -> list[str]:
    """Put a file's settings among `settings`, and say what is wrong with it. Penalties it has not are switched off."""
    document = read_iss_json(path)
    merged = base.model_dump()
    for name, setting in {**settings, **given}.items():
        if name in setting_names():
            _put(merged, name, setting.value)
    if not isinstance(merged["model"]["hidden_sizes"], list | tuple):
        # that is a mistake of its own
        return []
    found, problems = iss_settings(document, merged["model"])
    now = dict(flatten(merged))
    asked = dict(flatten(Sparsity().model_dump(), "sparsity.")) | found
    settings |= {name: Setting(value, path) for name, value in asked.items() if now.get(name, ...) != value}
    return [f"{path}: {problem}" for problem in problems]


def _source(
    source: str, recipes: Mapping[str, Callable[[], Experiment]], children: tuple[Path, ...] = ()
) -> tuple[Experiment, dict[str, Setting]]:
    if source in recipes:
        return recipes[source](), {}
    if not source.endswith(".toml"):
        place = f"{children[-1]}: extends: " if children else ""
        raise UserError(f"{place}unknown recipe {source!r}{_nearest(source, recipes)}; known: {', '.join(recipes)}")
    path = Path(source)
    if path.resolve() in [child.resolve() for child in children]:
        raise UserError(f"{children[-1]}: extends: {source} extends this file in its turn")
    text, tree = _read(path)
    parent = tree.pop("extends", None)
    if parent is None:
        base, settings = Experiment(), dict[str, Setting]()
    elif isinstance(parent, str):
        if parent.endswith(".toml"):
            parent = str(path.parent / parent)
        base, settings = _source(parent, recipes, (*children, path))
    else:
        raise UserError(f"{source}: extends: must be the name of a recipe or file (got {parent!r})")
    lines = _lines(text)
    for name, value in flatten(tree):
        # TOML has no word for nothing
        settings[name] = Setting(None if value == "none" else value, f"{source}:{_line_of(name, lines)}")
    return base, settings


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        # with or without the byte order mark that some editors write
        text = path.read_text(encoding="utf-8-sig")
        return text, tomllib.loads(text)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}") from None
    # a whole number of thousands of digits is a plain ValueError, brackets by the thousand a RecursionError
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: {error}") from None


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """The leaves of nested groups under dotted names."""
    groups = _group_names()
    for name, value in tree.items():
        # an empty table of a name that is no group would else go unnoticed
        if isinstance(value, dict) and (value or prefix + name in groups):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _lines(text: str) -> dict[str, int]:
    """The line of each key and table of a TOML text; enough for plain or dotted names."""
    lines, table = {}, ""
    for number, line in enumerate(text.split("\n"), 1):
        if header := re.match(r"\s*\[+\s*([\w.\-]+)\s*\]", line):
            table = header[1] + "."
            lines[header[1]] = number
        elif key := re.match(r"\s*([\w.\-]+)\s*=", line):
            lines[table + key[1]] = number
    return lines


def _line_of(name: str, lines: Mapping[str, int]) -> int | str:
    """The line of a key, or of the inline table or heading that it stands in."""
    while name not in lines and "." in name:
        name = name.rpartition(".")[0]
    return lines.get(name, "?")


def value_of(text: str) -> Any:
    """A setting's value as written on the command line: TOML where it is TOML, else text; `none` is no value."""
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except (ValueError, RecursionError):
        return None if text in ("none", "None", "null") else text


def _unknown(settings: dict[str, Setting]) -> list[str]:
    """Take unknown names out of `settings` and say what was wrong with them."""
    known = setting_names()
    named = [*known, *_group_names()]
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
            hint = _nearest(last, [other.rpartition(".")[2] for other in siblings])
        if not hint and not (group and siblings):
            hint = _nearest(name, named)
        hint = hint or f"; known here: {', '.join(siblings or named)}"
        problems.append(f"{setting.origin}: {name}: unknown key{hint}")
    return problems


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _names_none(name: str) -> bool:
    """Whether `none` is a choice that a setting names, and not the lack of a value."""
    group: Any = Experiment
    *groups, last = name.split(".")
    for part in groups:
        group = group.model_fields[part].annotation
    return "none" in get_args(group.model_fields[last].annotation)


def _put(tree: dict[str, Any], name: str, value: Any) -> None:
    *groups, last = name.split(".")
    for group in groups:
        tree = tree[group]
    tree[last] = value


def _describe(details: ErrorDetails, settings: Mapping[str, Setting]) -> str:
    """One line for one mistake: origin, name, what was expected, what was given."""
    place = [str(part) for part in details["loc"]]
    message = details["msg"].removeprefix("Value error, ")
    if details["type"] == "value_error":
        # a rule between settings: its text opens with the setting it speaks of
        first = re.split(r"[:,\s]", message)[0]
        name = ".".join([*place, first])
        origin = settings[name].origin if name in settings else _rule_origin(place, message, settings)
        return f"{origin}: {'.'.join([*place, message])}"
    name = ".".join(part for part in place if not part.isdigit() and "-" not in part and "[" not in part)
    while name and name not in settings and "." in name and name not in setting_names():
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
