"""Pictures of a probe as PNG: a histogram of a unit's values by class, and a heat map of its values over texts."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .canvas import INK, LONGEST_NAME, SOFT, empty_figure, image_bytes, plain_text, printable
from .heat_map import HIGH, LOW, STRONGEST, Passage, Piece, Scale

COLUMNS, MAX_LINES = 92, 80
FONT_POINTS = 9.5
# in inches: the advance of the monospaced font, a line, the margin, the space above the texts
CELL, LINE, MARGIN, HEAD = 0.602 * FONT_POINTS / 72, 1.8 * FONT_POINTS / 72, 0.35, 1.25
# both are part of matplotlib; the second has more characters
FONTS = ["DejaVu Sans Mono", "DejaVu Sans"]

FILES = ("probe.json", "histogram.png", "heat-map.png", "heat-map.html")
"""The files of a probe: its figures and its pictures."""


def histogram(low: NDArray[Any], high: NDArray[Any], scale: Scale, *, title: str, label: str) -> bytes:
    """Draw a histogram of a unit's values by class, as PNG.

    Args:
        low: the values of the texts whose class is predicted below the threshold (N,).
        high: the values of the texts of the other class (M,).
        scale: its centre is drawn as the threshold, and its labels name the classes.
        title: the title of the picture.
        label: the label of the axis.
    """
    figure = empty_figure(7.2, 4.2)
    axes = figure.add_subplot()
    count = len(low) + len(high)
    bins = np.histogram_bin_edges(np.concatenate([low, high]), bins=min(60, max(10, int(count**0.5))))
    for values, name, colour in ((low, scale.below, LOW), (high, scale.above, HIGH)):
        edge = _blend(colour, 1.0)
        legend = f"{plain_text(name, LONGEST_NAME)} ({len(values):,} texts)"
        axes.hist(values, bins=bins, histtype="stepfilled", fc=edge + "4c", ec=edge, linewidth=1.6, label=legend)
    axes.axvline(scale.centre, color=INK, linestyle="--", linewidth=1.2, label=f"threshold {scale.centre:.3g}")
    axes.set_title(plain_text(title), loc="left", fontsize=11)
    axes.set_xlabel(plain_text(label))
    axes.set_ylabel("texts")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.set_layout_engine("tight")
    return image_bytes(figure, dpi=160)


def heat_map_picture(title: str, passages: Sequence[Passage], scale: Scale) -> bytes:
    """Draw texts with the background of each piece in the colour of its value, as PNG.

    At most 80 lines are drawn; the last line gives the number of lines that were left out.

    Args:
        title: the title of the picture.
        passages: the texts.
        scale: the scale of the colours.
    """
    rows: list[str | list[Piece]] = []
    for passage in passages:
        rows += [passage.caption, *wrapped(passage.pieces, COLUMNS), ""]
    if len(rows) > MAX_LINES:
        rows = [*rows[:MAX_LINES], f"... the page has {len(rows) - MAX_LINES} more lines"]
    width = COLUMNS * CELL + 2 * MARGIN
    height = len(rows) * LINE + HEAD + MARGIN
    figure = empty_figure(width, height)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    axes.text(MARGIN, MARGIN, plain_text(title), fontsize=12, color=INK, va="center")
    _draw_legend(axes, scale, width)
    for index, row in enumerate(rows):
        y = HEAD + (index + 0.5) * LINE
        if isinstance(row, str):
            axes.text(MARGIN, y, plain_text(row), fontsize=8, color=SOFT, va="center")
        else:
            _draw_line(axes, row, scale, y)
    return image_bytes(figure, dpi=160)


def wrapped(pieces: Sequence[Piece], columns: int) -> list[list[Piece]]:
    """Wrap pieces into lines, which are broken at newlines and, if possible, after blanks.

    Args:
        pieces: the pieces of a text.
        columns: the largest length of a line in columns of a monospaced font.
    """
    lines: list[list[Piece]] = [[]]
    used = 0
    for piece in pieces:
        if used + columns_of(piece.text.rstrip()) > columns:
            blanks = [index for index, each in enumerate(lines[-1], 1) if each.text.endswith(" ")]
            cut = blanks[-1] if blanks else len(lines[-1])
            lines[-1:] = [lines[-1][:cut], lines[-1][cut:]]
            used = sum(columns_of(each.text) for each in lines[-1])
        lines[-1].append(piece)
        used += columns_of(piece.text)
        if piece.text.endswith("\n"):
            lines.append([])
            used = 0
    return lines


def columns_of(text: str) -> int:
    """Count the columns of a text in a monospaced font: two for East Asian characters, none for combining ones."""
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def _draw_line(axes: Any, line: Sequence[Piece], scale: Scale, y: float) -> None:
    x, bars, colours = MARGIN, [], []
    for piece in line:
        width = columns_of(piece.text.rstrip("\n")) * CELL
        strength = scale.strength(piece.value)
        bars.append((x, width))
        colours.append(_blend(HIGH if strength >= 0 else LOW, STRONGEST * abs(strength)))
        x += width
    axes.broken_barh(bars, (y - 0.4 * LINE, 0.8 * LINE), facecolors=colours, linewidth=0)
    text = printable("".join(piece.text for piece in line).rstrip("\n"))
    # a run of Latin characters is drawn as a whole; other characters may come from fonts of another width
    for match in re.finditer(r"[!-\u024f\u0300-\u036f]+|\S", text):
        run = match[0]
        middle = MARGIN + (columns_of(text[: match.start()]) + columns_of(run) / 2) * CELL
        axes.text(middle, y, plain_text(run), size=FONT_POINTS, family=FONTS, ha="center", va="center_baseline")


def _draw_legend(axes: Any, scale: Scale, width: float) -> None:
    left = MARGIN
    right = min(width - MARGIN, MARGIN + 4)
    y = MARGIN + 0.3
    shades = [_blend(LOW if t < 0 else HIGH, STRONGEST * abs(t)) for t in np.linspace(-1, 1, 101)]
    pixels = np.array([[[int(shade[i : i + 2], 16) / 255 for i in (1, 3, 5)] for shade in shades]])
    axes.imshow(pixels, extent=(left, right, y + 0.14, y), aspect="auto", interpolation="nearest")
    for x, align, tick, name in (
        (left, "left", scale.centre - scale.limit, f"◀ {plain_text(scale.below, LONGEST_NAME)}"),
        ((left + right) / 2, "center", scale.centre, ""),
        (right, "right", scale.centre + scale.limit, f"{plain_text(scale.above, LONGEST_NAME)} ▶"),
    ):
        axes.text(x, y + 0.24, f"{tick:.3g}", fontsize=8, color=SOFT, ha=align, va="center")
        axes.text(x, y + 0.38, name, fontsize=8, color=SOFT, ha=align, va="center")


def _blend(colour: tuple[int, int, int], strength: float) -> str:
    """Blend a colour into white, and return it as #rrggbb."""
    return "#" + "".join(f"{round(255 + (channel - 255) * strength):02x}" for channel in colour)
