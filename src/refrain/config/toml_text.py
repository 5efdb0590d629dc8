"""Settings as the text of a TOML file, from which they are read again."""

from collections.abc import Iterable, Mapping
from json import dumps
from typing import Any

from .loader import AnyExperiment
from .schema import flatten


def toml_of(experiment: AnyExperiment) -> str:
    """All settings of an experiment as a TOML file."""
    return toml_lines(dict(flatten(experiment.model_dump(mode="json"), root=type(experiment))))


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
