"""A bar chart of the rows of a bench."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from .canvas import BLUE, GREY, INK, PALE_GREY, empty_figure, image_bytes, plain_text

ROW_HEIGHT = 0.3
SHARES = {"of_limit": "of the limit", "of_reading": "of reading", "of_copy": "of copying", "waiting": "waiting"}
"""The keys of a row that hold a fraction, of a measured limit of the machine or of the time, and a label for each."""


def bench_picture(rows: Sequence[Mapping[str, Any]], title: str, *, file_format: Literal["png", "svg"]) -> bytes:
    """Draw a bar for each row: its speed relative to the row that it is compared with, and the range of its rates.

    Args:
        rows: the rows of a bench; a row of ratio 1 begins a group, and rows without a ratio are left out.
        title: the title of the chart.
        file_format: png or svg.

    Raises:
        UserError: when matplotlib is not installed.
    """
    shown = [row for row in rows if row["ratio"] is not None]
    figure = empty_figure(8, 1.1 + ROW_HEIGHT * len(shown), constrained=True)
    axes = figure.add_subplot()
    most = max(row["ratio"] * row["high"] / row["median"] for row in shown)
    for position, row in enumerate(shown):
        ratio = row["ratio"]
        rate = row["median"]
        spread = [[ratio * (1 - row["low"] / rate)], [ratio * (row["high"] / rate - 1)]]
        first = ratio == 1
        axes.barh(position, ratio, 0.7, color=GREY if first else BLUE)
        axes.errorbar(ratio, position, xerr=spread, color=INK, linewidth=0.8, capsize=2)
        shares = "".join(f", {row[key]:.0%} {words}" for key, words in SHARES.items() if key in row)
        text = f"{ratio:.2f}x   {rate:,.0f} {row['unit']}{shares}"
        axes.text(ratio * row["high"] / rate + 0.015 * most, position, plain_text(text), va="center", fontsize=8)
        if first and position:
            axes.axhline(position - 0.5, color=PALE_GREY, linewidth=0.8)
    axes.axvline(1, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_xlim(0, 1.55 * most)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_yticks(range(len(shown)), [plain_text(row["name"]) for row in shown], fontsize=8)
    axes.set_xlabel("times as fast as the grey row above it; whiskers: slowest and fastest repeat", fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(plain_text(title), x=0.01, ha="left", fontsize=11)
    return image_bytes(figure, file_format)
