"""Recipe, TOML file and `a.b=value` words become one experiment, and every mistake is shown with its origin."""

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from refrain.errors import UserError

from .experiment import Experiment
from .iss_json import iss_settings, read_iss_json
from .mistakes import Setting, describe, group_names, names_none, nearest, setting_names, unknown
from .sparsity import Sparsity
from .tagger import TaggerExperiment

COMMAND_LINE = "command line"

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
        if not isinstance(base, Experiment):
            raise UserError(f"--iss-json: cannot take effect, {source} is a tagger")
        problems += _import_iss_json(iss_json, base, settings, given)
    settings = {name: setting for name, setting in settings.items() if name not in given} | given
    kind = type(base)
    problems += unknown(settings, kind)
    merged = base.model_dump()
    for name, setting in settings.items():
        _put(merged, name, "none" if setting.value is None and names_none(name, kind) else setting.value)
    try:
        experiment = kind.model_validate(merged)
    except ValidationError as error:
        # a list of wrong items is empty to the validator, and not to the user
        found = [each for each in error.errors() if each["type"] != "too_short" or not each["input"]]
        problems += [describe(details, settings, kind) for details in found]
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
    if parent is None:
        # a file without a parent says itself that it is of a tagger
        base = TaggerExperiment() if tree.get("task") == "tagger" else Experiment()
        settings = dict[str, Setting]()
    elif isinstance(parent, str):
        if parent.endswith(".toml"):
            parent = str(path.parent / parent)
        base, settings = _source(parent, recipes, (*children, path))
    else:
        raise UserError(f"{source}: extends: must be the name of a recipe or file (got {parent!r})")
    lines = _lines(text)
    for name, value in flatten(tree, kind=type(base)):
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


def flatten(tree: Mapping[str, Any], prefix: str = "", kind: type[BaseModel] = Experiment) -> Iterable[tuple[str, Any]]:
    """The leaves of nested groups under dotted names.

    Args:
        tree: nested dicts.
        prefix: comes before each name.
        kind: which settings there are.
    """
    groups = group_names(kind)
    for name, value in tree.items():
        # an empty table of a name that is no group would else go unnoticed
        if isinstance(value, dict) and (value or prefix + name in groups):
            yield from flatten(value, f"{prefix}{name}.", kind)
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


def _put(tree: dict[str, Any], name: str, value: Any) -> None:
    *groups, last = name.split(".")
    for group in groups:
        tree = tree[group]
    tree[last] = value
