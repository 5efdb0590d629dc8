"""The curves of runs for a paper, as PNG, SVG or PDF."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal

from .canvas import CURVES, INK, LONGEST_NAME, SOFT, empty_figure, image_bytes, plain_text
from .report.chart import DASHES, Chart, Line
from .report.scales import LOGARITHMIC_FROM

# inches; one chart is as wide as a column of a paper, two as wide as its text
WIDTH, HEIGHT = 3.4, 2.3
# the height of a row of a legend that is above its chart
LEGEND_ROW = 0.145
# the largest number of entries of a legend inside of its chart, and the longest name in a legend of two columns
MOST_INSIDE, LONGEST_HALF = 4, 22
PIXELS_PER_INCH = 300
# the dashes of horizontal lines, in turn
LEVELS = ("--", ":", "-.")
_STYLES: dict[str, Any] = {"": "solid", "5 3": (0, (5, 3)), "1.5 3": (0, (1.5, 1.5))}


def curves_picture(charts: Sequence[Chart], *, file_format: Literal["png", "svg", "pdf"]) -> bytes:
    """Draw charts in two columns, or one chart alone.

    Args:
        charts: the charts, at least one.
        file_format: png, svg or pdf.

    Raises:
        UserError: when matplotlib is not installed.
    """
    columns = min(2, len(charts))
    rows = math.ceil(len(charts) / columns)
    legend = LEGEND_ROW * max(_legend_rows(chart) for chart in charts)
    figure = empty_figure(WIDTH * columns, (HEIGHT + legend) * rows, constrained=True)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in panels[len(charts) :]:
        axes.axis("off")
    for chart, axes in zip(charts, panels, strict=False):
        _draw(axes, chart)
    return image_bytes(figure, file_format, dpi=PIXELS_PER_INCH)


def _draw(axes: Any, chart: Chart) -> None:
    for line in sorted(chart.lines, key=lambda line: not line.faint):
        # a point at the end of the axis is drawn whole
        axes.plot(line.x, line.y, label=plain_text(line.name, LONGEST_NAME), clip_on=False, **_style(line))
    for (name, value), dashes in zip(chart.levels, itertools.cycle(LEVELS)):
        axes.axhline(value, color=SOFT, linewidth=0.8, linestyle=dashes, label=plain_text(name, LONGEST_NAME))
    values = [*(value for line in chart.lines for value in line.y), *(value for _, value in chart.levels)]
    if chart.logarithmic and min(values) > 0 and max(values) > LOGARITHMIC_FROM * min(values):
        axes.set_yscale("log")
        decades = math.log10(max(values) / min(values))
        subs = (1, 2, 3, 5) if decades < 1 else (1, 2, 5) if decades < 2 else (1,)
        axes.yaxis.get_major_locator().set_params(subs=subs, numticks=8)
        axes.yaxis.set_minor_formatter("")
    elif chart.from_zero:
        axes.set_ylim(bottom=min(0.0, *values))
    axes.yaxis.set_major_formatter("{x:,.9g}")
    note = f" ({chart.note})" if chart.note else ""
    axes.set_ylabel(plain_text(f"{chart.title}{note}"), fontsize=8, color=INK)
    axes.set_xlabel(plain_text(chart.across), fontsize=8, color=INK)
    axes.set_xlim(0, max([chart.until, *(x for line in chart.lines for x in line.x)]))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.tick_params(labelsize=7, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    if _legend_rows(chart):
        place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
        axes.legend(frameon=False, fontsize=7, ncols=_legend_columns(chart), **place)
    elif len(chart.lines) > 1 or chart.levels:
        axes.legend(frameon=False, fontsize=7)


def _names(chart: Chart) -> list[str]:
    return [*(line.name for line in chart.lines), *(name for name, _ in chart.levels)]


def _legend_columns(chart: Chart) -> int:
    return 2 if max(map(len, _names(chart))) <= LONGEST_HALF else 1


def _legend_rows(chart: Chart) -> int:
    """The rows of a legend above a chart; 0 where it fits into the chart."""
    names = _names(chart)
    return math.ceil(len(names) / _legend_columns(chart)) if len(names) > MOST_INSIDE else 0


def _style(line: Line) -> dict[str, Any]:
    dashes = DASHES[line.colour // len(CURVES) % len(DASHES)]
    marked = line.marked or len(line.x) == 1
    return {
        "color": CURVES[line.colour % len(CURVES)],
        "linestyle": _STYLES[dashes],
        "linewidth": 0.8 if line.faint else 1.2,
        "alpha": 0.6 if line.faint else 1.0,
        "marker": "o" if marked and len(line.x) <= 60 else "",
        "markersize": 2.5,
    }
