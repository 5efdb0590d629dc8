"""Pictures of sparse models as PNG: the zeros in the matrices, the norms of groups, and curves of the training.

R rows and C columns of a matrix.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refrain.sparsity.report import MatrixView, WidthView

from .canvas import (
    BLUE,
    BLUE_RGB,
    CURVES,
    INK,
    LINE,
    LONGEST_NAME,
    SOFT,
    VERMILION,
    VERMILION_RGB,
    empty_figure,
    image_bytes,
    plain_text,
)

# vermilion blended into white
GONE = (248, 216, 192)
# the length in points of a dash and the gap after it
DASHES = 12.0
# inches
WIDTH, MATRIX, HISTOGRAM, CURVE, CAPTION, TITLE = 10.5, 3.5, 2.6, 2.4, 0.5, 0.5


class Curves(NamedTuple):
    """Quantities over the steps of training, drawn in one diagram.

    Attributes:
        title: the title of the diagram.
        series: for each name, the steps and the values at these steps.
        steps: the number of training steps so far.
        logarithmic: whether the values are drawn on a logarithmic scale.
        level: the target of the values, drawn as a horizontal line, or None.
    """

    title: str
    series: Mapping[str, tuple[Sequence[int], Sequence[float]]]
    steps: int
    logarithmic: bool = False
    level: float | None = None


class Part(NamedTuple):
    """A part of the picture.

    Attributes:
        title: its title.
        note: an explanation of its colours.
        height: the height in inches.
        draw: draws the part on a matplotlib figure.
    """

    title: str
    note: str
    height: float
    draw: Callable[[Any], None]


def parts(matrices: Sequence[MatrixView], widths: Sequence[WidthView], curves: Sequence[Curves]) -> list[Part]:
    """Return the parts for the matrices and the norms, and for the curves if any are given.

    Args:
        matrices: the data of each matrix.
        widths: the data of each width.
        curves: the diagrams of the training.
    """
    colours = (
        "Blue is non-zero, white is zero, orange belongs to a dead unit; a pixel mixes the colours of its entries."
    )
    found = [
        _part("Matrices", colours, _draw_matrix, matrices, MATRIX, 3),
        _part(
            "Norms of the units' groups",
            "Blue units are kept, orange ones are dead.",
            _draw_norms,
            widths,
            HISTOGRAM,
            3,
        ),
    ]
    if curves:
        found.append(_part("Training", "As in metrics.jsonl.", _draw_curves, curves, CURVE, 2))
    return found


def png(chosen: Sequence[Part], title: str = "") -> bytes:
    """Draw parts below each other, as PNG.

    Args:
        chosen: the parts to draw.
        title: the title of the picture; if it is empty, the parts have no titles either.

    Raises:
        UserError: when matplotlib is not installed.
    """
    heights = [part.height + (CAPTION if title else 0.0) for part in chosen]
    figure = empty_figure(WIDTH, sum(heights) + (TITLE if title else 0.0), constrained=True)
    if title:
        figure.suptitle(plain_text(title), x=0.01, ha="left", fontsize=13, color=INK)
    panels = figure.subfigures(len(chosen), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, panel in zip(chosen, panels, strict=True):
        if title:
            panel.suptitle(f"{part.title}. {part.note}", x=0.01, ha="left", fontsize=9.5, color=SOFT)
        part.draw(panel)
    return image_bytes(figure, dpi=130)


def _part(
    title: str, note: str, draw: Callable[[Any, Any], None], things: Sequence[Any], height: float, columns: int
) -> Part:
    rows = math.ceil(len(things) / columns)
    return Part(title, note, rows * height, partial(_draw_all, draw, things, rows, columns))


def _draw_all(draw: Callable[[Any, Any], None], things: Sequence[Any], rows: int, columns: int, figure: Any) -> None:
    """Draw each thing in a subplot of its own."""
    subplots = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in subplots:
        axes.axis("off")
    for thing, axes in zip(things, subplots, strict=False):
        axes.axis("on")
        axes.tick_params(labelsize=7.5, colors=SOFT, length=2.5)
        for spine in axes.spines.values():
            spine.set(color=LINE, linewidth=0.8)
        draw(axes, thing)


def _draw_matrix(axes: Any, view: MatrixView) -> None:
    rows, columns = view.shape
    axes.imshow(
        _pixels(view), extent=(0, columns, rows, 0), aspect="auto", interpolation="nearest", interpolation_stage="rgba"
    )
    for index in range(1, view.copies[0]):
        axes.axhline(index * rows / view.copies[0], color=LINE, linewidth=0.7)
    for index in range(1, view.copies[1]):
        axes.axvline(index * columns / view.copies[1], color=LINE, linewidth=0.7)
    axes.set_title(
        f"{plain_text(view.name, LONGEST_NAME)}\n{rows:,} × {columns:,}, {_percent(view.zeros)} zero",
        fontsize=9,
        color=INK,
    )
    axes.set_ylabel(plain_text(view.widths[0], LONGEST_NAME), fontsize=8, color=SOFT)
    axes.set_xlabel(plain_text(view.widths[1], LONGEST_NAME), fontsize=8, color=SOFT)
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_major_locator().set_params(nbins=4, integer=True)
        axis.set_major_formatter("{x:,.0f}")


def _pixels(view: MatrixView) -> NDArray[Any]:
    """Map the composition of each block to a colour, (R', C', 3) bytes; entries that are zero and kept are white."""
    shares = view.shares.numpy()
    colours = np.array([BLUE_RGB, VERMILION_RGB, GONE, (255, 255, 255)], dtype=np.float32)
    rest = 1 - shares.sum(axis=0, keepdims=True)
    mixed = np.einsum("srp,sc->rpc", np.concatenate([shares, rest]), colours)
    pixels: NDArray[Any] = mixed.round().clip(0, 255).astype(np.uint8)
    return pixels


def _draw_norms(axes: Any, view: WidthView) -> None:
    norms = view.norms.numpy()
    dead = view.dead.numpy()
    bins = np.linspace(0.0, float(norms.max()) or 1.0, min(40, max(10, round(len(norms) ** 0.5) + 1)))
    axes.hist([norms[~dead], norms[dead]], bins=bins, stacked=True, color=[BLUE, VERMILION])
    axes.set_title(
        f"{plain_text(view.name, LONGEST_NAME)}: {int((~dead).sum()):,} of {len(dead):,} units are kept",
        fontsize=9,
        color=INK,
    )
    axes.set_xlabel("norm of a unit's group", fontsize=8, color=SOFT)
    axes.set_ylabel("units", fontsize=8, color=SOFT)
    axes.set_xlim(left=0)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_curves(axes: Any, curves: Curves) -> None:
    drawn: list[tuple[Sequence[int], Sequence[float]]] = []
    for (name, curve), colour in zip(curves.series.items(), CURVES * len(curves.series), strict=False):
        style = _dashes(sum(_coincide(curve, other) for other in drawn))
        label = plain_text(name, LONGEST_NAME)
        # a single point has no line
        axes.plot(*curve, color=colour, linewidth=1.5, linestyle=style, label=label, marker="." * (len(curve[0]) < 2))
        drawn.append(curve)
    if curves.level is not None:
        axes.axhline(curves.level, color=INK, linestyle="--", linewidth=1, label="target")
    _scale(axes, curves)
    if len(curves.series) > 1 or curves.level is not None:
        axes.legend(frameon=False, fontsize=7.5, loc="upper left", bbox_to_anchor=(1, 1))
    axes.set_title(plain_text(curves.title), fontsize=9, color=INK)
    axes.set_xlabel("step", fontsize=8, color=SOFT)
    axes.set_xlim(0, max(curves.steps, 1))
    axes.xaxis.set_major_formatter("{x:,.9g}")
    axes.spines[["top", "right"]].set_visible(False)


def _coincide(curve: tuple[Sequence[int], Sequence[float]], other: tuple[Sequence[int], Sequence[float]]) -> bool:
    """Whether two curves share a line between two points, so that one would hide the other."""
    points = list(zip(*curve, strict=True))
    others = list(zip(*other, strict=True))
    lines = set(pairwise(others)) if len(points) > 1 else set()
    return any(line in lines for line in pairwise(points)) or (len(points) == 1 and points == others)


def _dashes(hidden: int) -> Any:
    """The style of a curve over others, each of which is seen between the dashes of the later ones.

    Args:
        hidden: the number of curves below it.
    """
    return "solid" if not hidden else (0, (DASHES / (hidden + 1), DASHES * hidden / (hidden + 1)))


def _scale(axes: Any, curves: Curves) -> None:
    """Set the scale of the values, with labels so far apart that they can be read."""
    values = [value for _, curve in curves.series.values() for value in curve]
    if curves.logarithmic and max(values) > 2 * min(values):
        axes.set_yscale("log")
        subs = (1, 2, 5) if max(values) > 10 * min(values) else (1, 1.5, 2, 3, 4, 6)
        decades = math.log10(max(values) / min(values))
        axes.yaxis.get_major_locator().set_params(subs=subs if decades < 3 else (1,), numticks=8)
        axes.yaxis.set_minor_formatter("")
    elif not curves.logarithmic:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter("{x:,.9g}")


def _percent(share: float) -> str:
    return f"{100 * share:.1f}\u00a0%"
