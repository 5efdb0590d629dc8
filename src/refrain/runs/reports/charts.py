"""The charts of the curves of one run or of several."""

from collections.abc import Mapping, Sequence
from typing import Literal

from refrain.pictures.report.chart import Chart, Line

from .curves import TRAINING, VALIDATION, Curves, Quantity, heading, ordered

Across = Literal["epoch", "step", "minutes"]


def along(curves: Curves, by: Across) -> Curves:
    """The same curves over another horizontal axis.

    Args:
        curves: curves as `curves_of` returns them.
        by: `epoch` leaves them as they are; `step` counts optimiser steps, and `minutes` the time of training.

    Raises:
        ValueError: when a line does not say its time.
    """
    if by == "epoch":
        return curves
    if by == "step":
        return curves._replace(across=by, x=[float(step) for step in curves.steps])
    known = [seconds for seconds in curves.seconds if seconds is not None]
    if len(known) < len(curves.steps):
        raise ValueError("a line of metrics has no time")
    return curves._replace(across=by, x=[seconds / 60 for seconds in known])


def charts_of_one(curves: Curves, identity: str | None, levels: Mapping[str, tuple[str, float]]) -> list[Chart]:
    """The charts of one run: quantities that belong together are lines of one chart.

    Args:
        curves: the curves of the run.
        identity: the table of its numbers; None without one.
        levels: for the title of a chart, a name and a value to draw as a horizontal line.
    """
    titles: dict[str, list[Quantity]] = {}
    for quantity in curves.columns:
        titles.setdefault(quantity.chart, []).append(quantity)
    charts = []
    for title, quantities in titles.items():
        lines = []
        for place, quantity in enumerate(quantities):
            lines.append(_line(curves, quantity, quantity.name or title, place, identity))
        charts.append(_chart(title, quantities[0], _background(lines), curves.across, levels.get(title)))
    return [chart._replace(until=max(curves.x)) for chart in charts]


def charts_of_several(runs: Sequence[tuple[str, Curves, str | None]]) -> list[Chart]:
    """The charts of several runs: a chart for each quantity, with a line for each run.

    Args:
        runs: for each run its name, its curves, and the table of its numbers or None.
    """
    kinds = {curves.across for _, curves, _ in runs}
    across = kinds.pop() if len(kinds) == 1 else "step"
    found = dict.fromkeys(quantity for _, curves, _ in runs for quantity in curves.columns)
    until = max(max(curves.x if curves.across == across else map(float, curves.steps)) for _, curves, _ in runs)
    charts = []
    # runs are compared by their validation
    for quantity in sorted(ordered(found), key=lambda quantity: quantity.name != VALIDATION):
        lines = []
        for place, (name, curves, identity) in enumerate(runs):
            if quantity in curves.columns:
                if curves.across != across:
                    # its table of numbers is by epoch
                    curves, identity = along(curves, "step"), None
                lines.append(_line(curves, quantity, name, place, identity))
        charts.append(_chart(heading(quantity._replace(note="")), quantity, lines, across, None)._replace(until=until))
    return charts


def _chart(title: str, quantity: Quantity, lines: list[Line], across: str, level: tuple[str, float] | None) -> Chart:
    values = [value for line in lines for value in line.y]
    if level is not None and not min(values) <= level[1] <= 1.2 * max(values):
        # it would press the curve to the edge
        level = None
    levels = () if level is None else (level,)
    return Chart(title, quantity.note, lines, across, quantity.logarithmic, quantity.from_zero, levels)


def _line(curves: Curves, quantity: Quantity, name: str, colour: int, identity: str | None) -> Line:
    column = curves.columns[quantity]
    points = [
        (x, value, place) for place, (x, value) in enumerate(zip(curves.x, column, strict=True)) if value is not None
    ]
    validation = quantity.name == VALIDATION
    best = next((index for index, point in enumerate(points) if validation and point[2] == curves.best), None)
    first = 2 if curves.across == "epoch" else 1
    table = None if identity is None else (identity, first + list(curves.columns).index(quantity))
    x, y = [point[0] for point in points], [point[1] for point in points]
    return Line(name, x, y, colour, marked=validation, best=best, table=table)


def _background(lines: list[Line]) -> list[Line]:
    """The lines of a chart of training and validation, where validation has the first colour."""
    names = [line.name for line in lines]
    if names != [TRAINING, VALIDATION]:
        return lines
    return [lines[0]._replace(faint=True, colour=1), lines[1]._replace(colour=0)]
