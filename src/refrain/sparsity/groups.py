"""The groups of a model: for each unit of a width, all entries that are removed with the unit.

They follow from the declared axes alone, so the code is the same for any stack of any cells, tied or not. For the
hidden width of an LSTM they are the intrinsic sparse structures of Wen et al. (2018, arXiv 1709.05027, section 3).

U units in a width.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from refrain.arguments import check_choice
from refrain.axes import Axis, AxisTable, Segment
from refrain.nn.precision import widened

Overlap = Literal["twice", "once"]


class UnitAxis(NamedTuple):
    """One axis of one parameter that runs along a width.

    Attributes:
        parameter: the name of the parameter.
        dimension: the dimension of the parameter that runs along the width.
        axis: the declaration of that dimension.
    """

    parameter: str
    dimension: int
    axis: Axis

    def to_units(self, values: Tensor) -> Tensor:
        """Pad values of the units that the axis covers to all units (U,), with zeros for the others."""
        if self.axis.segment is None:
            return values
        begin, end, units = self.axis.segment
        return torch.nn.functional.pad(values, (begin, units - end))

    def broadcast(self, values: Tensor, dimensions: int) -> Tensor:
        """Arrange values of all units (U,) along the parameter's dimension, in a shape that broadcasts to it.

        Args:
            values: a value for each unit (U,).
            dimensions: the number of dimensions of the parameter.
        """
        segment = self.axis.segment
        covered = values if segment is None else values[segment.begin : segment.end]
        shape = [1] * dimensions
        shape[self.dimension] = -1
        return covered.repeat(self.axis.copies).view(shape)


def unit_axes(table: AxisTable) -> dict[str, list[UnitAxis]]:
    """Return, for each width, every axis that runs along it, in the order of the table."""
    found: dict[str, list[UnitAxis]] = {}
    for name, axes in table.items():
        for dimension, axis in enumerate(axes):
            found.setdefault(axis.width, []).append(UnitAxis(name, dimension, axis))
    return found


def unit_sums(tensor: Tensor, unit_axis: UnitAxis) -> Tensor:
    """Sum a parameter-shaped tensor, numbers or booleans, over everything but the units of an axis -> (U,)."""
    others = [dimension for dimension in range(tensor.ndim) if dimension != unit_axis.dimension]
    # torch sums booleans several times faster as int32 than as its default, int64
    dtype = torch.int32 if tensor.dtype == torch.bool else tensor.dtype
    summed = tensor.sum(dim=others, dtype=dtype) if others else tensor
    # without a dtype, a sum of int32 would be int64
    return unit_axis.to_units(summed.unflatten(0, (unit_axis.axis.copies, -1)).sum(dim=0, dtype=dtype))


def squared_norms(
    parameters: Mapping[str, Tensor], width_axes: Iterable[UnitAxis], *, overlap: Overlap = "twice"
) -> Tensor:
    """Return the sum of squares of each unit's group (U,), in float32 at least; vectors such as biases do not count.

    Args:
        parameters: the parameters by name.
        width_axes: the axes of one width, from `unit_axes`.
        overlap: entries that lie both in a row and in a column of the same unit count `twice`, as in the paper's code,
            or `once`.

    Raises:
        ValueError: when no matrix has the width, or `overlap` is another word.
    """
    check_choice("overlap", overlap, get_args(Overlap))
    total: Tensor | None = None
    rows: dict[str, UnitAxis] = {}
    for unit_axis in width_axes:
        parameter = parameters[unit_axis.parameter]
        if parameter.ndim < 2:
            continue
        squares = widened(parameter).square()
        part = unit_sums(squares, unit_axis)
        if overlap == "once" and unit_axis.parameter in rows:
            # the table names the rows of a matrix before its columns
            part = part - _crossing(squares, rows[unit_axis.parameter], unit_axis)
        rows[unit_axis.parameter] = unit_axis
        total = part if total is None else total + part
    if total is None:
        raise ValueError("no matrix of the model has this width, so its units have no groups")
    return total


def _crossing(tensor: Tensor, rows: UnitAxis, columns: UnitAxis) -> Tensor:
    """Return the sum over the entries that are in both a unit's rows and its columns (U,)."""
    blocks = tensor.unflatten(0, (rows.axis.copies, -1)).unflatten(2, (columns.axis.copies, -1))  # (R, U, C, U)
    row_units, column_units = rows.axis.segment, columns.axis.segment
    if row_units is None or column_units is None or row_units == column_units:
        return rows.to_units(blocks.diagonal(dim1=1, dim2=3).sum(dim=(0, 1)))
    # the units that both axes cover
    begin = max(row_units.begin, column_units.begin)
    end = min(row_units.end, column_units.end)
    shared = rows._replace(axis=rows.axis._replace(segment=Segment(begin, max(begin, end), row_units.of)))
    blocks = blocks[:, begin - row_units.begin : end - row_units.begin]
    blocks = blocks[..., begin - column_units.begin : end - column_units.begin]
    return shared.to_units(blocks.diagonal(dim1=1, dim2=3).sum(dim=(0, 1)))


def group_sizes(
    parameters: Mapping[str, Tensor], width_axes: Iterable[UnitAxis], *, overlap: Overlap = "twice"
) -> Tensor:
    """Return the number of matrix entries in each unit's group (U,).

    Args:
        parameters: the parameters by name.
        width_axes: the axes of one width.
        overlap: see `squared_norms`.
    """
    found = list(width_axes)
    ones = {unit_axis.parameter: torch.ones_like(parameters[unit_axis.parameter].detach()) for unit_axis in found}
    return squared_norms(ones, found, overlap=overlap)


def zero_share(parameters: Mapping[str, Tensor]) -> float:
    """Return the fraction of the entries of all matrices that are zero."""
    matrices = [parameter for parameter in parameters.values() if parameter.ndim >= 2]
    zeros = sum(parameter.numel() - int(parameter.count_nonzero()) for parameter in matrices)
    return zeros / sum(parameter.numel() for parameter in matrices)


def scale_units(parameters: Mapping[str, Tensor], width_axes: Iterable[UnitAxis], factors: Tensor) -> None:
    """Multiply the matrix entries of each unit's group by a factor, in place.

    Args:
        parameters: the parameters by name.
        width_axes: the axes of one width.
        factors: the factor for each unit (U,).
    """
    with torch.no_grad():
        for unit_axis in width_axes:
            parameter = parameters[unit_axis.parameter]
            if parameter.ndim < 2:
                continue
            parameter.mul_(unit_axis.broadcast(factors, parameter.ndim))


def dead_units(parameters: Mapping[str, Tensor], width_axes: Iterable[UnitAxis]) -> Tensor:
    """Find the units without which the model computes the same, as (U,) bool.

    A unit is dead if nothing but the unit itself reads its value. It is also dead if everything that writes to it, bias
    included, apart from the unit itself, is zero: the output of every layer here is zero then.
    """
    found = list(width_axes)
    read = torch.tensor(False)
    written = torch.tensor(False)
    for unit_axis in found:
        entries = parameters[unit_axis.parameter].detach() != 0
        count = unit_sums(entries, unit_axis)
        for other in found:
            if other.parameter == unit_axis.parameter and other.dimension != unit_axis.dimension:
                first, second = sorted((unit_axis, other), key=lambda each: each.dimension)
                count = count - _crossing(entries, first, second)
        alive = count > 0
        if unit_axis.axis.reads:
            read = read.to(alive.device) | alive
        if unit_axis.axis.writes:
            written = written.to(alive.device) | alive
    return ~(read & written)
