"""A picture of predefined sparseness as PNG: the length of each word's vector, and the inputs of each block."""

from collections.abc import Mapping, Sequence
from typing import Any

from refrain.errors import UserError
from refrain.nn import SparsePlan

from .canvas import LONGEST_NAME, PALE_BLUES, empty_figure, image_bytes, plain_text


def layout_picture(bands: Sequence[Mapping[str, Any]], plans: Mapping[str, SparsePlan], title: str) -> bytes:
    """Draw the bands of an embedding and the blocks of sparse layers.

    Args:
        bands: for each band its number of `words`, the `width` of their vectors and their `share` of the training
            text, as in the output of `refrain check --json`, the shortest vectors first; empty for a dense embedding.
        plans: the plans of the sparse layers, by name.
        title: the title of the picture.

    Raises:
        UserError: when matplotlib is not installed, or nothing is sparse.
    """
    if not bands and not plans:
        raise UserError(
            "--layout: no layer of this recipe is sparse; see model.cell=sparse-lstm, model.embedding=sparse"
        )
    heights = [3.2] * bool(bands) + [2.0] * len(plans)
    figure = empty_figure(8, 1.2 + sum(heights), constrained=True)
    figure.suptitle(plain_text(title), x=0.01, ha="left", fontsize=11)
    axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    if bands:
        _draw_bands(axes[0], bands)
    for panel, (name, plan) in zip(axes[bool(bands) :], plans.items(), strict=True):
        _draw_plan(panel, name, plan)
    return image_bytes(figure)


def _draw_bands(axes: Any, bands: Sequence[Mapping[str, Any]]) -> None:
    first = 0
    for index, band in enumerate(bands):
        axes.barh(first, band["width"], band["words"], align="edge", color=PALE_BLUES[index % 2])
        text = f"{band['words']:,} words, {band['share']:.1%} of the text"
        axes.text(band["width"], first + band["words"] / 2, f" {text}", va="center", fontsize=7)
        first += band["words"]
    axes.set_xlim(0, 1.35 * max(band["width"] for band in bands))
    axes.set_ylim(first, 0)
    axes.set_title("Embedding: the entries that each word has", loc="left", fontsize=9)
    axes.set_xlabel("entries of the vector", fontsize=8)
    axes.set_ylabel("words, in their order", fontsize=8)
    axes.tick_params(labelsize=7)


def _draw_plan(axes: Any, name: str, plan: SparsePlan) -> None:
    first = 0
    for index, (begin, end, units) in enumerate(plan.blocks):
        axes.barh(first, end - begin, units, left=begin, align="edge", color=PALE_BLUES[index % 2])
        first += units
    axes.set_xlim(0, plan.input_size)
    axes.set_ylim(first, 0)
    share = plan.parameters / plan.dense_parameters
    text = f"{plain_text(name, LONGEST_NAME)}: {plan.parameters:,} parameters, {share:.0%} of the dense layer's"
    axes.set_title(text, loc="left", fontsize=9)
    axes.set_xlabel("inputs that the units see", fontsize=8)
    axes.set_ylabel("units", fontsize=8)
    axes.tick_params(labelsize=7)
