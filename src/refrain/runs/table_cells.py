"""Figures and settings as they are written in the cells of tables."""

from collections.abc import Mapping
from json import dumps
from typing import Any

from .figure_names import text_of_figure


def figure_cells(figure: Mapping[str, Any], *, plain: bool) -> list[str]:
    """The mean of a figure with the standard deviation over seeds, if there are several.

    Args:
        figure: `name`, `mean` and `std`, as `Group.figure` returns it; empty without a figure.
        plain: whether they are numbers for a program, in a cell each.
    """
    if plain:
        return ["" if figure.get(key) is None else f"{figure[key]:.6g}" for key in ("mean", "std")]
    if not figure:
        return ["-"]
    mean = text_of_figure(figure["name"], figure["mean"])
    return [mean if figure["std"] is None else f"{mean} ± {text_of_figure(figure['name'], figure['std'])}"]


def value_cell(value: Any) -> str:
    """The value of a setting in a cell, as the command line reads it; six digits of a number that has more.

    Args:
        value: the value.
    """
    match value:
        case None:
            return "none"
        case str():
            return value
        case float() if len(repr(value)) > 8:
            return f"{value:.6g}"
    return dumps(value, separators=(",", ":"))
