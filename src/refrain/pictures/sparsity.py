"""Pictures of sparse models as PNG: what is zero in the matrices, the norms of groups, sizes over training.

R rows and C columns of a matrix.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
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
    SOFT,
    VERMILION,
    VERMILION_RGB,
    empty_figure,
    image_bytes,
    plain_text,
)

# vermilion blended into white
GONE = (248, 216, 192)
# inches
WIDTH, MATRIX, HISTOGRAM, COURSE, CAPTION, TITLE = 10.5, 3.5, 2.6, 2.4, 0.5, 0.5


class Course(NamedTuple):
    """Something that changed during training.

    Attributes:
        title: above the picture.
        curves: name -> the steps, and the values there.
        steps: of training, as far as it went.
        logarithmic: how the values are drawn.
        level: a value that was asked for, drawn as a line.
    """

    title: str
    curves: Mapping[str, tuple[Sequence[int], Sequence[float]]]
    steps: int
    logarithmic: bool = False
    level: float | None = None


class Part(NamedTuple):
    """A part of the picture.

    Attributes:
        title: what it shows.
        note: what its colours mean.
        height: in inches.
        draw: puts it on a matplotlib figure.
    """

    title: str
    note: str
    height: float
    draw: Callable[[Any], None]


def parts(matrices: Sequence[MatrixView], widths: Sequence[WidthView], courses: Sequence[Course]) -> list[Part]:
    """The matrices, the norms, and where there are courses these.

    Args:
        matrices: what is zero in each.
        widths: the norms of their units' groups.
        courses: what changed during training.
    """
    colours = "Blue is not zero, white is zero, orange goes with a dead unit; many entries in one pixel are mixed."
    found = [
        _part("Matrices", colours, _draw_matrix, matrices, MATRIX, 3),
        _part(
            "Norms of the units' groups", "Blue units stay, orange ones are dead.", _draw_norms, widths, HISTOGRAM, 3
        ),
    ]
    return [*found, _part("Training", "As in metrics.jsonl.", _draw_course, courses, COURSE, 2)] if courses else found


def png(chosen: Sequence[Part], title: str = "") -> bytes:
    """Parts below each other.

    Args:
        chosen: the parts.
        title: above all of them; without it, the parts have no titles either.

    Raises:
        UserError: when matplotlib is not installed.
    """
    heights = [part.height + (CAPTION if title else 0.0) for part in chosen]
    figure = empty_figure(WIDTH, sum(heights) + (TITLE if title else 0.0), constrained=True)
    if title:
        figure.suptitle(plain_text(title), x=0.01, ha="left", fontsize=13, color=INK)
    places = figure.subfigures(len(chosen), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, place in zip(chosen, places, strict=True):
        if title:
            place.suptitle(f"{part.title}. {part.note}", x=0.01, ha="left", fontsize=9.5, color=SOFT)
        part.draw(place)
    return image_bytes(figure, dpi=130)


def _part(
    title: str, note: str, draw: Callable[[Any, Any], None], things: Sequence[Any], height: float, columns: int
) -> Part:
    rows = math.ceil(len(things) / columns)
    return Part(title, note, rows * height, partial(_draw_all, draw, things, rows, columns))


def _draw_all(draw: Callable[[Any, Any], None], things: Sequence[Any], rows: int, columns: int, figure: Any) -> None:
    """Each thing in a place of its own."""
    places = figure.subplots(rows, columns, squeeze=False).flatten()
    for place in places:
        place.axis("off")
    for thing, place in zip(things, places, strict=False):
        place.axis("on")
        place.tick_params(labelsize=7.5, colors=SOFT, length=2.5)
        for spine in place.spines.values():
            spine.set(color=LINE, linewidth=0.8)
        draw(place, thing)


def _draw_matrix(place: Any, view: MatrixView) -> None:
    rows, columns = view.shape
    place.imshow(
        _pixels(view), extent=(0, columns, rows, 0), aspect="auto", interpolation="nearest", interpolation_stage="rgba"
    )
    for index in range(1, view.copies[0]):
        place.axhline(index * rows / view.copies[0], color=LINE, linewidth=0.7)
    for index in range(1, view.copies[1]):
        place.axvline(index * columns / view.copies[1], color=LINE, linewidth=0.7)
    place.set_title(
        f"{plain_text(view.name)}\n{rows:,} × {columns:,}, {_percent(view.zeros)} zero", fontsize=9, color=INK
    )
    place.set_ylabel(plain_text(view.widths[0]), fontsize=8, color=SOFT)
    place.set_xlabel(plain_text(view.widths[1]), fontsize=8, color=SOFT)
    for axis in (place.xaxis, place.yaxis):
        axis.get_major_locator().set_params(nbins=4, integer=True)


def _pixels(view: MatrixView) -> NDArray[Any]:
    """Shares -> colours (R', C', 3) of one byte each; what is zero and stays is white."""
    shares = view.shares.numpy()
    colours = np.array([BLUE_RGB, VERMILION_RGB, GONE, (255, 255, 255)], dtype=np.float32)
    rest = 1 - shares.sum(axis=0, keepdims=True)
    mixed = np.einsum("srp,sc->rpc", np.concatenate([shares, rest]), colours)
    pixels: NDArray[Any] = mixed.round().clip(0, 255).astype(np.uint8)
    return pixels


def _draw_norms(place: Any, view: WidthView) -> None:
    norms, dead = view.norms.numpy(), view.dead.numpy()
    bins = np.linspace(0.0, float(norms.max()) or 1.0, min(40, max(10, round(len(norms) ** 0.5) + 1)))
    place.hist([norms[~dead], norms[dead]], bins=bins, stacked=True, color=[BLUE, VERMILION])
    place.set_title(
        f"{plain_text(view.name)}: {int((~dead).sum()):,} of {len(dead):,} units stay", fontsize=9, color=INK
    )
    place.set_xlabel("norm of a unit's group", fontsize=8, color=SOFT)
    place.set_ylabel("units", fontsize=8, color=SOFT)
    place.set_xlim(left=0)
    place.yaxis.get_major_locator().set_params(integer=True)
    place.spines[["top", "right"]].set_visible(False)


def _draw_course(place: Any, course: Course) -> None:
    for (name, (steps, values)), colour in zip(course.curves.items(), CURVES * len(course.curves), strict=False):
        place.plot(steps, values, color=colour, linewidth=1.5, label=plain_text(name))
    if course.level is not None:
        place.axhline(course.level, color=INK, linestyle="--", linewidth=1, label="target")
    if course.logarithmic:
        place.set_yscale("log")
        values = [value for _, curve in course.curves.values() for value in curve]
        place.yaxis.get_major_locator().set_params(subs=(1, 2, 5) if max(values) > 10 * min(values) else range(1, 10))
        place.yaxis.set_minor_formatter("")
    else:
        place.set_ylim(bottom=0)
    place.yaxis.set_major_formatter("{x:,.9g}")
    if len(course.curves) > 1 or course.level is not None:
        place.legend(frameon=False, fontsize=7.5, loc="upper left", bbox_to_anchor=(1, 1))
    place.set_title(plain_text(course.title), fontsize=9, color=INK)
    place.set_xlabel("step", fontsize=8, color=SOFT)
    place.set_xlim(0, max(course.steps, 1))
    place.spines[["top", "right"]].set_visible(False)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}\u00a0%"
