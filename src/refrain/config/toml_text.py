"""Settings as the text of a TOML file, from which they are read again."""

from collections.abc import Iterable, Mapping
from json import dumps
from typing import Any

from .loader import AnyExperiment
from .schema import as_toml, flatten, groups, settings_of


def toml_of(experiment: AnyExperiment) -> str:
    """All settings of an experiment as a TOML file."""
    return toml_lines(dict(flatten(experiment.model_dump(mode="json"), root=type(experiment))))


def toml_beside(experiment: AnyExperiment, recipe: str | None, base: AnyExperiment) -> str:
    """The settings of an experiment that differ from others, as a TOML file that gives all of them.

    Args:
        experiment: the settings.
        recipe: the name of the recipe that the file extends; None for the defaults.
        base: the settings of the recipe, or the defaults, of the same class.
    """
    root = type(experiment)
    own, other = settings_of(experiment), settings_of(base)
    # another variant begins with its own defaults
    variants = tuple(f"{name}." for name in groups(root) if name in own and own[name] != other.get(name, own[name]))
    changed = {
        as_toml(name, root): value
        for name, value in own.items()
        if name not in other or other[name] != value or name.startswith(variants)
    }
    if recipe is not None:
        return toml_lines(changed, [f"extends = {quoted(recipe)}"])
    return toml_lines(changed, ['task = "tagger"'] if "task" in root.model_fields else [])


def toml_lines(settings: Mapping[str, Any], first: Iterable[str] = ()) -> str:
    """Settings as the lines of a TOML file.

    Args:
        settings: by dotted name.
        first: lines that come before them.
    """
    return "\n".join([*first, *(f"{name} = {quoted(value)}" for name, value in settings.items())]) + "\n"


def quoted(value: object) -> str:
    """A plain value in TOML, which has no surrogate escapes, no raw DEL and no null."""
    return '"none"' if value is None else dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
