"""The size and cost of a model, counted from its declared axes and the sizes of its widths.

U units in a width.
"""

import math
from collections.abc import Mapping

from torch import Tensor

from refrain.axes import Axis, AxisTable

Units = Mapping[str, Tensor]
"""Width -> (U,) bool."""


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


def model_size(measure: str, table: AxisTable, widths: Mapping[str, int], dead: Units | None = None) -> int:
    """Return the size of a model by a measure.

    Args:
        measure: `parameters`, `multiply_adds` or `bytes` (of float32).
        table: the model's axes.
        widths: the sizes of the model's widths.
        dead: units that are not counted; one unit in each segment of a width is always counted.
    """
    if measure == "multiply_adds":
        return multiply_adds(table, widths, dead)
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
