"""The size and cost of a model, counted from its declared axes and the sizes of its widths.

U units in a width.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from refrain.axes import Axis, AxisTable

Units = Mapping[str, Tensor]
"""Width -> (U,) bool."""

MEASURES = ("parameters", "multiply_adds", "layer_multiply_adds", "bytes", "int8_bytes")
"""The measures of `model_size`."""

LAYERS = "stack."
"""Prefix of the names of the parameters of the recurrent layers."""


def parameter_count(table: AxisTable, widths: Mapping[str, int], dead: Units | None = None) -> int:
    """Count the parameters.

    Args:
        table: the model's axes.
        widths: the sizes of the model's widths.
        dead: units that are not counted; one unit in each segment of a width is always counted.
    """
    return sum(_entries(axes, widths, dead or {}) for axes in table.values())


def multiply_adds(table: AxisTable, widths: Mapping[str, int], dead: Units | None = None) -> int:
    """Count the multiply-adds per token, as Wen et al. (2018) do: one for each entry of a matrix in a matmul.

    The entries of an embedding do not count, as its rows are only looked up.

    Args:
        table: the model's axes.
        widths: the sizes of the model's widths.
        dead: units that are not counted; one unit in each segment of a width is always counted.
    """
    matrices = (axes for axes in table.values() if len(axes) >= 2 and not _looked_up(axes))
    return sum(_entries(axes, widths, dead or {}) for axes in matrices)


def layer_multiply_adds(table: AxisTable, widths: Mapping[str, int], dead: Units | None = None) -> int:
    """Count the multiply-adds per token of the recurrent layers alone, without the head.

    These are the matrices under `stack.`; of a model that has none the count is 0.

    Args:
        table: the model's axes.
        widths: the sizes of the model's widths.
        dead: units that are not counted; one unit in each segment of a width is always counted.
    """
    return multiply_adds({name: axes for name, axes in table.items() if name.startswith(LAYERS)}, widths, dead)


def model_size(measure: str, table: AxisTable, widths: Mapping[str, int], dead: Units | None = None) -> int:
    """Return the size of a model by a measure.

    Args:
        measure: `parameters`, `multiply_adds`, `layer_multiply_adds`, `bytes` (of float32) or `int8_bytes` (of matrices
            in int8 with a scale for each row, and of vectors in float32).
        table: the model's axes.
        widths: the sizes of the model's widths.
        dead: units that are not counted; one unit in each segment of a width is always counted.

    Raises:
        ValueError: when the measure is unknown.
    """
    if measure not in MEASURES:
        raise ValueError(f"measure: {measure!r} is unknown; choose one of {', '.join(MEASURES)}")
    if measure == "multiply_adds":
        return multiply_adds(table, widths, dead)
    if measure == "layer_multiply_adds":
        return layer_multiply_adds(table, widths, dead)
    if measure == "int8_bytes":
        rows = sum(_entries(axes[:-1], widths, dead or {}) for axes in table.values() if len(axes) >= 2)
        vectors = sum(_entries(axes, widths, dead or {}) for axes in table.values() if len(axes) < 2)
        return parameter_count(table, widths, dead) - vectors + 4 * (rows + vectors)
    return parameter_count(table, widths, dead) * {"parameters": 1, "bytes": 4}[measure]


def _entries(axes: tuple[Axis, ...], widths: Mapping[str, int], dead: Units) -> int:
    return math.prod(_units(axis, widths, dead) * axis.copies for axis in axes)


def _units(axis: Axis, widths: Mapping[str, int], dead: Units) -> int:
    begin, end = (0, widths[axis.width]) if axis.segment is None else axis.segment[:2]
    if axis.width not in dead:
        return end - begin
    return max(1, end - begin - int(dead[axis.width][begin:end].count_nonzero()))


def _looked_up(axes: tuple[Axis, ...]) -> bool:
    # the first axis of a matrix in a matmul writes
    return axes[0].role == "reads"


def unit_sizes(
    measure: str, table: AxisTable, widths: Mapping[str, int], removed: Sequence[str], dead: Units | None = None
) -> dict[str, list[int]]:
    """Return by how much a model becomes smaller when one more unit is removed.

    Args:
        measure: see `model_size`.
        table: the model's axes.
        widths: the sizes of the model's widths.
        removed: the widths whose units can be removed.
        dead: units that are removed already.

    Returns:
        Width -> a size for each unit; that of a unit which is removed already has no meaning.
    """
    gone = {width: torch.zeros(size, dtype=torch.bool) for width, size in widths.items()} | dict(dead or {})
    whole = model_size(measure, table, widths, gone)
    found: dict[str, list[int]] = {}
    for width in removed:
        axes = [axis for axes in table.values() for axis in axes if axis.width == width and axis.segment is not None]
        edges = {edge for axis in axes if axis.segment is not None for edge in axis.segment[:2]}
        found[width] = []
        # the units between two edges are in the same segments, and of the same size
        for begin, end in pairwise(sorted(edges | {0, widths[width]})):
            left = (~gone[width][begin:end]).nonzero().flatten()
            one = gone[width].clone()
            one[begin + (int(left[0]) if len(left) else 0)] = True
            smaller = model_size(measure, table, widths, gone | {width: one})
            found[width] += [whole - smaller] * (end - begin)
    return found
