"""The groups of a model: for each unit of a width, everything that goes when the unit goes.

Read from the declared axes alone, so it is the same for any stack of any cells, tied or not. For the hidden width of an
LSTM these are the intrinsic sparse structures of Wen et al. (2018, arXiv 1709.05027, section 3).

U units in a width.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from refrain.axes import AxisTable, Segment

Overlap = Literal["twice", "once"]


class Place(NamedTuple):
    """One axis of one parameter that runs along a width.

    Attributes:
        parameter: its name.
        dimension: of the parameter.
        copies: blocks of the width along that dimension.
        role: `writes`, `reads` or `both`, as in `Axis`.
        segment: the units that stand there, where they are not all of the width's.
    """

    parameter: str
    dimension: int
    copies: int
    role: str
    segment: Segment | None = None

    def of_units(self, values: Tensor) -> Tensor:
        """Values of all units (U,) -> those of the units that stand here."""
        return values if self.segment is None else values[self.segment.begin : self.segment.end]

    def to_units(self, values: Tensor) -> Tensor:
        """Values of the units that stand here -> of all units (U,), zero for the others."""
        if self.segment is None:
            return values
        begin, end, units = self.segment
        return torch.nn.functional.pad(values, (begin, units - end))


def places(table: AxisTable) -> dict[str, list[Place]]:
    """Width name -> every place where its units stand, in the order of the table."""
    found: dict[str, list[Place]] = {}
    for name, axes in table.items():
        for dimension, axis in enumerate(axes):
            found.setdefault(axis.width, []).append(Place(name, dimension, axis.copies, axis.role, axis.segment))
    return found


def unit_sums(tensor: Tensor, place: Place) -> Tensor:
    """Sum a parameter-shaped tensor, numbers or truths, over everything but the units of a place -> (U,)."""
    others = [dimension for dimension in range(tensor.ndim) if dimension != place.dimension]
    # torch counts truths several times faster in 32 bits than in the 64 of its own choice
    kind = torch.int32 if tensor.dtype == torch.bool else tensor.dtype
    summed = tensor.sum(dim=others, dtype=kind) if others else tensor
    # a sum of 32-bit truths would otherwise be of 64 bits
    return place.to_units(summed.unflatten(0, (place.copies, -1)).sum(dim=0, dtype=kind))


def squared_norms(
    parameters: Mapping[str, Tensor], width_places: Iterable[Place], *, overlap: Overlap = "twice"
) -> Tensor:
    """The sum of squares of each unit's group, matrices only -> (U,).

    Args:
        parameters: by name.
        width_places: of one width, as from `places`.
        overlap: entries that lie in a row and in a column of the same unit count `twice`, as in the paper's code, or
            `once`.
    """
    total: Tensor | None = None
    rows: dict[str, Place] = {}
    for place in width_places:
        parameter = parameters[place.parameter]
        if parameter.ndim < 2:
            continue
        squares = parameter.square()
        part = unit_sums(squares, place)
        if overlap == "once" and place.parameter in rows:
            # the table names the rows of a matrix before its columns
            part = part - _crossing(squares, rows[place.parameter], place)
        rows[place.parameter] = place
        total = part if total is None else total + part
    if total is None:
        raise ValueError("a width without a matrix has no groups")
    return total


def _crossing(tensor: Tensor, rows: Place, columns: Place) -> Tensor:
    """The sum over the entries that a unit's rows and columns share -> (U,)."""
    blocks = tensor.unflatten(0, (rows.copies, -1)).unflatten(2, (columns.copies, -1))  # (R, U, C, U)
    if rows.segment is None or columns.segment is None or rows.segment == columns.segment:
        return rows.to_units(blocks.diagonal(dim1=1, dim2=3).sum(dim=(0, 1)))
    # units that stand along both
    begin, end = max(rows.segment.begin, columns.segment.begin), min(rows.segment.end, columns.segment.end)
    shared = rows._replace(segment=Segment(begin, max(begin, end), rows.segment.of))
    blocks = blocks[:, begin - rows.segment.begin : end - rows.segment.begin]
    blocks = blocks[..., begin - columns.segment.begin : end - columns.segment.begin]
    return shared.to_units(blocks.diagonal(dim1=1, dim2=3).sum(dim=(0, 1)))


def group_sizes(
    parameters: Mapping[str, Tensor], width_places: Iterable[Place], *, overlap: Overlap = "twice"
) -> Tensor:
    """How many entries of matrices the group of each unit has -> (U,).

    Args:
        parameters: by name.
        width_places: of one width.
        overlap: see `squared_norms`.
    """
    found = list(width_places)
    ones = {place.parameter: torch.ones_like(parameters[place.parameter].detach()) for place in found}
    return squared_norms(ones, found, overlap=overlap)


def zero_share(parameters: Mapping[str, Tensor]) -> float:
    """The share of the matrices' entries that are zero."""
    matrices = [parameter for parameter in parameters.values() if parameter.ndim >= 2]
    zeros = sum(parameter.numel() - int(parameter.count_nonzero()) for parameter in matrices)
    return zeros / sum(parameter.numel() for parameter in matrices)


def scale_units(parameters: Mapping[str, Tensor], width_places: Iterable[Place], factors: Tensor) -> None:
    """Multiply each unit's group by a factor, matrices only, in place.

    Args:
        parameters: by name.
        width_places: of one width.
        factors: (U,).
    """
    with torch.no_grad():
        for place in width_places:
            parameter = parameters[place.parameter]
            if parameter.ndim < 2:
                continue
            shape = [1] * parameter.ndim
            shape[place.dimension] = -1
            parameter.mul_(place.of_units(factors).repeat(place.copies).view(shape))


def dead_units(parameters: Mapping[str, Tensor], width_places: Iterable[Place]) -> Tensor:
    """Which units a model computes the same without -> (U,) bool.

    A unit that nothing but itself reads is dead, whatever its value; so is one to which everything but itself writes
    zero, bias included: every layer here makes zero of that.
    """
    found = list(width_places)
    read, written = torch.tensor(False), torch.tensor(False)
    for place in found:
        entries = parameters[place.parameter].detach() != 0
        count = unit_sums(entries, place)
        for other in found:
            if other.parameter == place.parameter and other.dimension != place.dimension:
                first, second = sorted((place, other), key=lambda each: each.dimension)
                count = count - _crossing(entries, first, second)
        alive = count > 0
        if place.role in ("reads", "both"):
            read = read.to(alive.device) | alive
        if place.role in ("writes", "both"):
            written = written.to(alive.device) | alive
    return ~(read & written)
