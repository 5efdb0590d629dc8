"""Line charts as SVG, which take their text colour from the page, and their colours from its style sheet if it has one.

A script may read the exact values from the table of numbers that each line names.
"""

from collections.abc import Sequence
from typing import NamedTuple

from refrain.pictures.canvas import CURVES, escaped

from .scales import Scale, label, scale_of

WIDTH, HEIGHT = 440, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 32
# after so many lines the colours repeat, with dashes
DASHES = ("", "5 3", "1.5 3")
FONT = 11


class Line(NamedTuple):
    """A line of a chart.

    Attributes:
        name: its name in the legend.
        x: the places of its points, in ascending order.
        y: their values, which are finite.
        colour: a number from 0; equal numbers are equal colours.
        faint: whether it is drawn thinly, as the background of another line.
        marked: whether each point has a dot.
        best: the index of a point that has a ring; None without one.
        table: the identity of the table that has its values, and the column there; None without one.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int = 0
    faint: bool = False
    marked: bool = False
    best: int | None = None
    table: tuple[str, int] | None = None


class Chart(NamedTuple):
    """A chart.

    Attributes:
        title: what it shows.
        note: its unit or an explanation; may be empty.
        lines: its lines, each with at least one point.
        across: what the horizontal axis counts, such as `epoch`.
        logarithmic: whether its scale may be logarithmic.
        from_zero: whether a linear scale begins at zero.
        levels: the names and values of horizontal lines.
        until: where the horizontal axis ends at least, so that charts beside each other have the same one.
    """

    title: str
    note: str
    lines: Sequence[Line]
    across: str = "epoch"
    logarithmic: bool = False
    from_zero: bool = False
    levels: Sequence[tuple[str, float]] = ()
    until: float = 0.0


def chart_svg(chart: Chart) -> str:
    """Draw a chart as an SVG element, which has text for screen readers.

    Args:
        chart: the chart; it has at least one line.
    """
    across = scale_of([0.0, chart.until, *(x for line in chart.lines for x in line.x)], from_zero=True)
    up = scale_of(
        [*(y for line in chart.lines for y in line.y), *(value for _, value in chart.levels)],
        logarithmic=chart.logarithmic,
        from_zero=chart.from_zero,
    )
    # faint lines are drawn below the others
    lines = sorted(chart.lines, key=lambda line: not line.faint)
    limits = f'data-x="{across.low:.9g} {across.high:.9g}" data-y="{up.low:.9g} {up.high:.9g}"'
    limits += ' data-log=""' if up.logarithmic else ""
    return "".join(
        [
            f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" tabindex="0" {limits}'
            f' data-across="{escaped(chart.across)}" font-size="{FONT}" fill="currentColor"'
            f' aria-label="{escaped(spoken(chart))}">',
            *_grid(across, up, chart.across),
            *_levels(chart, up),
            *(_line(line, across, up) for line in lines),
            '<g class="cursor"></g></svg>',
        ]
    )


def spoken(chart: Chart) -> str:
    """What a screen reader says of a chart: of each line its first and its last value, and its range."""
    parts = []
    for line in chart.lines:
        first, last = label(_short(line.y[0])), label(_short(line.y[-1]))
        low, high = label(_short(min(line.y))), label(_short(max(line.y)))
        parts.append(f"{line.name} from {first} to {last}, at least {low} and at most {high}")
    return f"{chart.title} by {chart.across}: {'; '.join(parts)}"


def swatch(line: Line) -> str:
    """A short piece of a line, for the legend."""
    dot = f'<circle cx="9" cy="5" r="2.4" class="f{line.colour % len(CURVES)}" fill="{_colour(line)}"/>'
    return (
        f'<svg class="swatch" viewBox="0 0 18 10" width="18" height="10" aria-hidden="true">'
        f'<path d="M0 5H18" {_stroke(line)}/>{dot if line.marked else ""}</svg>'
    )


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _colour(line: Line) -> str:
    return CURVES[line.colour % len(CURVES)]


def _stroke(line: Line) -> str:
    dashes = DASHES[line.colour // len(CURVES) % len(DASHES)]
    style = f' stroke-dasharray="{dashes}"' if dashes else ""
    faint = ' stroke-opacity="0.5"' if line.faint else ""
    width = 1.2 if line.faint else 1.8
    return (
        f'class="s{line.colour % len(CURVES)}" stroke="{_colour(line)}" stroke-width="{width}" fill="none"'
        f' stroke-linejoin="round"{style}{faint}'
    )


def _grid(across: Scale, up: Scale, name: str) -> list[str]:
    found = []
    for tick in up.ticks:
        y = _y(up, tick)
        found.append(
            f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" class="grid" stroke="currentColor" stroke-opacity=".15"/>'
        )
        found.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" class="tick">{label(tick)}</text>')
    base = HEIGHT - BOTTOM
    found.append(f'<path d="M{LEFT} {base}H{WIDTH - RIGHT}" class="axis" stroke="currentColor" stroke-opacity=".5"/>')
    for tick in across.ticks:
        x = _x(across, tick)
        found.append(f'<path d="M{x:.1f} {base}v4" class="axis" stroke="currentColor" stroke-opacity=".5"/>')
        found.append(f'<text x="{x:.1f}" y="{base + 16}" text-anchor="middle" class="tick">{label(tick)}</text>')
    # beside the last label, which is at the end of the axis
    middle = (LEFT + WIDTH - RIGHT) / 2
    found.append(f'<text x="{middle}" y="{HEIGHT - 3}" text-anchor="middle" class="tick">{escaped(name)}</text>')
    return found


def _levels(chart: Chart, up: Scale) -> list[str]:
    found = []
    for name, value in chart.levels:
        y = _y(up, value)
        found += [
            f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" class="level" stroke="currentColor" stroke-dasharray="4 3"/>',
            f'<text x="{WIDTH - RIGHT}" y="{y - 4:.1f}" text-anchor="end" class="tick">{escaped(name)}</text>',
        ]
    return found


def _line(line: Line, across: Scale, up: Scale) -> str:
    points = [(_x(across, x), _y(up, y)) for x, y in zip(line.x, line.y, strict=True)]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    parts = [f'<path d="{path}" {_stroke(line)}/>']
    filled = f'class="f{line.colour % len(CURVES)}" fill="{_colour(line)}"'
    if line.marked or len(points) == 1:
        radius = 2.6 if len(points) <= 60 else 1.4
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" {filled}/>' for x, y in points]
    if line.best is not None:
        x, y = points[line.best]
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5.5" {_stroke(line._replace(faint=False))}/>')
    source = "" if line.table is None else f' data-table="{escaped(line.table[0])}" data-column="{line.table[1]}"'
    return f'<g data-name="{escaped(line.name)}" data-colour="{line.colour % len(CURVES)}"{source}>{"".join(parts)}</g>'


def _x(across: Scale, value: float) -> float:
    return LEFT + across.place(value) * (WIDTH - LEFT - RIGHT)


def _y(up: Scale, value: float) -> float:
    return HEIGHT - BOTTOM - up.place(value) * (HEIGHT - BOTTOM - TOP)
