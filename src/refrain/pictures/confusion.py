"""A picture of a tagger's confusion matrix, as PNG. K tags."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .canvas import INK, LONGEST_NAME, empty_figure, image_bytes, plain_text

MAX_TAGS = 60


def confusion_picture(confusion: NDArray[np.int64], tags: Sequence[str], title: str) -> bytes:
    """Draw the fraction of each tag's words that were predicted as each tag; the most frequent tags come first.

    Args:
        confusion: (K, K) counts; the rows are the true tags, the columns the predicted ones.
        tags: the names of the tags.
        title: the title of the picture.

    Raises:
        UserError: when matplotlib is not installed.
    """
    by_frequency = np.argsort(-confusion.sum(axis=1), kind="stable")
    present = [index for index in by_frequency if confusion[index].sum()][:MAX_TAGS]
    shares = confusion[np.ix_(present, present)] / confusion[present].sum(axis=1, keepdims=True)
    names = [plain_text(tags[index], LONGEST_NAME) for index in present]
    count = len(present)
    side = 2.2 + 0.32 * count
    figure = empty_figure(side + 0.9, side, constrained=True)
    axes = figure.add_subplot()
    # errors are a few per cent, which would not be visible beside the diagonal on a linear scale
    picture = axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
    for row in range(count):
        for column in range(count):
            if shares[row, column] >= 0.005:
                colour = "white" if shares[row, column] > 0.4 else INK
                text = f"{100 * shares[row, column]:.0f}"
                axes.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)
    labels = [f"{name}  {confusion[index].sum():,}" for name, index in zip(names, present, strict=True)]
    axes.set_xticks(range(count), names, rotation=90, fontsize=8)
    axes.set_yticks(range(count), labels, fontsize=8)
    axes.set_xlabel("predicted tag")
    axes.set_ylabel("true tag and its number of words")
    axes.set_title(plain_text(title), loc="left", fontsize=11)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(picture, ax=axes, shrink=0.6, ticks=[0, 0.1, 0.316, 0.5, 0.707, 1])
    bar.ax.set_yticklabels(["0", "1", "10", "25", "50", "100"], fontsize=8)
    bar.set_label("% of the true tag's words", fontsize=8)
    bar.outline.set_visible(False)
    return image_bytes(figure)
