"""Recipe, TOML file and `a.b=value` words become one experiment, and every mistake is shown with its origin."""

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from refrain.errors import UserError

from .experiment import Experiment
from .iss_json import iss_settings, read_iss_json
from .mistakes import Setting, describe, nearest, unknown
from .schema import as_set, flatten, groups, names_none, setting_names
from .sparsity import Sparsity
from .tagger import TaggerExperiment

COMMAND_LINE = "command line"

REMEDIES = {
    "Cannot overwrite a value": "; give each name once, and a variant with settings as one table, such as [model.head] "
    'with kind = "mixture"',
    "Invalid value": '; text needs quotes, as in head = "mixture"',
}
"""What to do about a mistake in TOML, by how the parser's message begins."""

AnyExperiment = Experiment | TaggerExperiment


def resolve(
    source: str,
    words: Iterable[str],
    recipes: Mapping[str, Callable[[], AnyExperiment]],
    *,
    corpus: str | None = None,
    iss_json: str | None = None,
) -> AnyExperiment:
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
    root = type(base)
    given, problems = _from_words(words, root)
    if corpus is not None:
        given["data.corpus"] = Setting(corpus, "--data")
    if iss_json is not None:
        if not isinstance(base, Experiment):
            raise UserError(f"--iss-json: cannot take effect, {source} is a tagger")
        problems += _import_iss_json(iss_json, base, settings, given)
    settings = _overlaid(settings, given, base)
    problems += unknown(settings, root)
    merged = _changed(base, settings)
    try:
        experiment = root.model_validate(merged)
    except ValidationError as error:
        problems += [describe(details, settings, root) for details in _telling(error.errors())]
    if problems:
        raise UserError(*dict.fromkeys(problems))
    return experiment


def _telling(found: list[ErrorDetails]) -> list[ErrorDetails]:
    """The mistakes that are the user's, of those that a validator finds."""
    misnamed = [each["loc"][:-1] for each in found if each["loc"][-1:] == ("kind",)]
    return [
        each
        for each in found
        # a list of wrong items is empty to the validator; what an unknown variant lacks is not known
        if not (each["type"] == "too_short" and each["input"])
        and not (each["type"] == "missing" and each["loc"][:-1] in misnamed)
    ]


def _from_words(words: Iterable[str], root: type[BaseModel]) -> tuple[dict[str, Setting], list[str]]:
    """The settings on the command line, and what is wrong with words that are none."""
    given: dict[str, Setting] = {}
    problems: list[str] = []
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            problems.append(f"{COMMAND_LINE}: {word!r} is not a setting; write name=value, as in training.epochs=3")
            continue
        for each, value in flatten({name.strip(): value_of(text.strip())}, root=root):
            given[as_set(each, root)] = Setting(value, COMMAND_LINE)
    return given, problems


def _overlaid(older: Mapping[str, Setting], newer: Mapping[str, Setting], base: AnyExperiment) -> dict[str, Setting]:
    """Two layers of settings as one. Where the newer one chooses another variant, the fields of the old one go."""
    known = groups(type(base))
    gone = tuple(
        f"{name}."
        for name, setting in newer.items()
        if name in known
        and setting.value != {}
        and (setting.value is None or setting.value != _variant_in(name, older, base))
    )
    kept = {name: setting for name, setting in older.items() if name not in newer and not name.startswith(gone)}
    return kept | dict(newer)


def _variant_in(name: str, settings: Mapping[str, Setting], base: AnyExperiment) -> Any:
    """The name of the variant that a group has."""
    if name in settings:
        return settings[name].value
    group: Any = base
    for part in name.split("."):
        group = getattr(group, part, None)
    return getattr(group, "kind", None)


def _changed(base: AnyExperiment, settings: Mapping[str, Setting]) -> dict[str, Any]:
    """The values of an experiment with known settings put over them, not validated yet."""
    root, known = type(base), groups(type(base))
    merged: dict[str, Any] = base.model_dump()
    # a group comes before its fields, whatever the order in which they were given
    for name in sorted(settings, key=lambda name: name.count(".")):
        value = settings[name].value
        if name in known and isinstance(value, str):
            value = {"kind": value}
        _put(merged, name, "none" if value is None and names_none(name, root) else value)
    return merged


def _put(tree: dict[str, Any], name: str, value: Any) -> None:
    *parents, last = name.split(".")
    for parent in parents:
        if not isinstance(tree.get(parent), dict):
            tree[parent] = {}
        tree = tree[parent]
    old = tree.get(last)
    same = isinstance(old, dict) and isinstance(value, dict) and old.get("kind") == value.get("kind")
    if not same:
        # another variant begins with its own defaults
        tree[last] = value


def _import_iss_json(
    path: str, base: Experiment, settings: dict[str, Setting], given: Mapping[str, Setting]
) -> list[str]:
    """Put a file's settings among `settings`, and say what is wrong with it. Penalties it has not are switched off."""
    document = read_iss_json(path)
    known = setting_names()
    settings_now = {name: each for name, each in _overlaid(settings, given, base).items() if name in known}
    merged = _changed(base, settings_now)
    if not isinstance(merged["model"]["hidden_sizes"], list | tuple):
        # that is a mistake of its own
        return []
    found, problems = iss_settings(document, merged["model"])
    now = {as_set(name, Experiment): value for name, value in flatten(merged)}
    defaults = flatten(Sparsity().model_dump(), "sparsity.")
    asked = {as_set(name, Experiment): value for name, value in defaults} | found
    # of a group that is put in the place of another, every setting is given
    changed = {name for name, value in asked.items() if now.get(name, ...) != value}
    own = {name: Setting(asked[name], path) for name in asked if {name, name.rpartition(".")[0]} & changed}
    merged_settings = _overlaid(settings, own, base)
    settings.clear()
    settings.update(merged_settings)
    return [f"{path}: {problem}" for problem in problems]


def _source(
    source: str, recipes: Mapping[str, Callable[[], AnyExperiment]], children: tuple[Path, ...] = ()
) -> tuple[AnyExperiment, dict[str, Setting]]:
    if source in recipes:
        return recipes[source](), {}
    if not source.endswith(".toml"):
        place = f"{children[-1]}: extends: " if children else ""
        raise UserError(f"{place}unknown recipe {source!r}{nearest(source, recipes)}; known: {', '.join(recipes)}")
    path = Path(source)
    if path.resolve() in [child.resolve() for child in children]:
        raise UserError(f"{children[-1]}: extends: {source} extends this file in its turn")
    text, tree = _read(path)
    parent = tree.pop("extends", None)
    base: AnyExperiment
    settings: dict[str, Setting]
    if parent is None:
        # a file without a parent says itself that it is of a tagger
        base = TaggerExperiment() if tree.get("task") == "tagger" else Experiment()
        settings = {}
    elif isinstance(parent, str):
        if parent.endswith(".toml"):
            parent = str(path.parent / parent)
        base, settings = _source(parent, recipes, (*children, path))
    else:
        raise UserError(f"{source}: extends: must be the name of a recipe or file (got {parent!r})")
    lines, root = _lines(text), type(base)
    own = {
        # TOML has no word for nothing
        as_set(name, root): Setting(None if value == "none" else value, f"{source}:{_line_of(name, lines)}")
        for name, value in flatten(tree, root=root)
    }
    return base, _overlaid(settings, own, base)


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
        raise UserError(_not_toml(path, str(error))) from None


def _not_toml(path: Path, message: str) -> str:
    """What is wrong with a text that is not TOML: the line where the parser says it, and a remedy where it is known."""
    line = ""
    if found := re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", message, re.DOTALL):
        message, line = f"{found[1]} in column {found[3]}", f":{found[2]}"
    remedies = (hint for opening, hint in REMEDIES.items() if message.startswith(opening))
    return f"{path}{line}: {message}{next(remedies, '')}"


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
    """The line of a key, or of the inline table or heading that contains it."""
    while name not in lines and "." in name:
        name = name.rpartition(".")[0]
    return lines.get(name, "?")


def value_of(text: str) -> Any:
    """A setting's value as written on the command line: TOML where it is TOML, else text; `none` is no value."""
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except (ValueError, RecursionError):
        return None if text in ("none", "None", "null") else text
