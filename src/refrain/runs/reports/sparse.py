"""The part of a report about the sparsity of a model: where its units went, and what is zero in its matrices."""

from typing import Any

from torch import nn

from refrain.assembly.widths import removable_widths
from refrain.config.sparsity import SIZE_LABELS
from refrain.pictures.report.blocks import Block, Fold, Paragraph, Picture, Pictures, Table, Units
from refrain.pictures.report.pixels import shares_png
from refrain.sparsity.report import report, views

# the largest number of pixels along a side of a matrix, and the number of matrices that are drawn
PIXELS = 120
MOST_MATRICES = 16


def sparsity_blocks(model: nn.Module) -> list[Block]:
    """The sizes, the units and the matrices of a model.

    Args:
        model: a language model that declares its axes; it is not changed.
    """
    given: Any = model
    parameters = {name: parameter.detach().cpu() for name, parameter in model.named_parameters()}
    removable = removable_widths(given)
    found = report(parameters, given.axes(), given.widths(), removable)
    matrices, widths = views(parameters, given.axes(), removable, pixels=PIXELS)
    sizes = [
        [label, f"{found[name]:,}", f"{found[f'compact_{name}']:,}", _percent(found[f"compact_{name}"] / found[name])]
        for name, label in SIZE_LABELS.items()
        if found[name]
    ]
    tensors = [
        [name, " × ".join(f"{length:,}" for length in row["shape"]), _percent(row["zeros"])]
        for name, row in found["tensors"].items()
    ]
    pictures = [
        Picture(
            view.name,
            f"{view.shape[0]:,} × {view.shape[1]:,}, {_percent(view.zeros)} zero",
            shares_png(view.shares.numpy()),
            (view.shares.shape[1], view.shares.shape[2]),
        )
        for view in matrices[:MOST_MATRICES]
    ]
    return [
        Table(["", "now", "compacted", "share"], sizes),
        Paragraph(
            "Each bar is a unit, in the order of its index, and as high as the norm of its group of weights. Orange "
            "units are dead: the model computes the same without them."
        ),
        *(Units(view.name, view.norms.tolist(), view.dead.tolist()) for view in widths),
        Paragraph("In the matrices, blue is non-zero and orange belongs to a dead unit."),
        Pictures(pictures),
        Fold(f"Zeros of {len(tensors)} tensors", [Table(["tensor", "shape", "zeros"], tensors, texts=2)]),
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}\u00a0%"
