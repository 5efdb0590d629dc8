"""What a model costs, counted from its declared axes and the sizes of its widths."""

import math
from collections.abc import Mapping

from refrain.axes import Axis, AxisTable


def parameter_count(table: AxisTable, widths: Mapping[str, int]) -> int:
    """The number of parameters."""
    return sum(_entries(axes, widths) for axes in table.values())


def multiply_adds(table: AxisTable, widths: Mapping[str, int]) -> int:
    """Multiply-adds a token: the entries of every matrix that is multiplied with; an embedding is only looked up.

    The count of Wen et al. (2018).
    """
    return sum(_entries(axes, widths) for axes in table.values() if len(axes) >= 2 and not _looked_up(axes))


def model_size(measure: str, table: AxisTable, widths: Mapping[str, int]) -> int:
    """The size of a model by a measure.

    Args:
        measure: `parameters`, `multiply_adds` or `bytes`, of float32.
        table: the model's axes.
        widths: their sizes.
    """
    if measure == "multiply_adds":
        return multiply_adds(table, widths)
    return parameter_count(table, widths) * {"parameters": 1, "bytes": 4}[measure]


def _entries(axes: tuple[Axis, ...], widths: Mapping[str, int]) -> int:
    return math.prod(widths[axis.width] * axis.copies for axis in axes)


def _looked_up(axes: tuple[Axis, ...]) -> bool:
    # a matrix that is multiplied with writes by its first axis
    return axes[0].role == "reads"
