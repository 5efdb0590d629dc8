"""A picture of what a tagger takes for what, as PNG. K tags."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .canvas import INK, empty_figure, image_bytes, plain_text

MOST_TAGS = 60


def confusion_picture(confusion: NDArray[np.int64], tags: Sequence[str], title: str) -> bytes:
    """The share of each tag's words that were told as each other tag; frequent tags first.

    Args:
        confusion: (K, K), rows are the right tags, columns those that were told.
        tags: their names.
        title: above the picture.

    Raises:
        UserError: when matplotlib is not installed.
    """
    there = [index for index in np.argsort(-confusion.sum(axis=1), kind="stable") if confusion[index].sum()][:MOST_TAGS]
    shares = confusion[np.ix_(there, there)] / confusion[there].sum(axis=1, keepdims=True)
    names, count = [plain_text(tags[index]) for index in there], len(there)
    side = 2.2 + 0.32 * count
    figure = empty_figure(side + 0.9, side, constrained=True)
    axes = figure.add_subplot()
    # errors are a few in a hundred: on a plain scale they would not be seen beside the diagonal
    picture = axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
    for row in range(count):
        for column in range(count):
            if shares[row, column] >= 0.005:
                colour = "white" if shares[row, column] > 0.4 else INK
                text = f"{100 * shares[row, column]:.0f}"
                axes.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)
    labels = [f"{name}  {confusion[index].sum():,}" for name, index in zip(names, there, strict=True)]
    axes.set_xticks(range(count), names, rotation=90, fontsize=8)
    axes.set_yticks(range(count), labels, fontsize=8)
    axes.set_xlabel("tag that was told")
    axes.set_ylabel("right tag, and its words")
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(picture, ax=axes, shrink=0.6, ticks=[0, 0.1, 0.316, 0.5, 0.707, 1])
    bar.ax.set_yticklabels(["0", "1", "10", "25", "50", "100"], fontsize=8)
    bar.set_label("% of the right tag's words", fontsize=8)
    bar.outline.set_visible(False)
    return image_bytes(figure)
