"""The groups of a model: for each unit of a width, everything that goes when the unit goes.

Read from the declared axes alone, so it is the same for any stack of any cells, tied or not. For the hidden width of an
LSTM these are the intrinsic sparse structures of Wen et al. (2018, arXiv 1709.05027, section 3).

U units in a width.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from refrain.axes import AxisTable

Overlap = Literal["twice", "once"]


class Place(NamedTuple):
    """One axis of one parameter that runs along a width.

    Attributes:
        parameter: its name.
        dimension: of the parameter.
        copies: blocks of the width along that dimension.
        role: `writes`, `reads` or `both`, as in `Axis`.
    """

    parameter: str
    dimension: int
    copies: int
    role: str


def places(table: AxisTable) -> dict[str, list[Place]]:
    """Width name -> every place where its units stand, in the order of the table."""
    found: dict[str, list[Place]] = {}
    for name, axes in table.items():
        for dimension, axis in enumerate(axes):
            found.setdefault(axis.width, []).append(Place(name, dimension, axis.copies, axis.role))
    return found


def unit_sums(tensor: Tensor, place: Place) -> Tensor:
    """Sum a parameter-shaped tensor, numbers or truths, over everything but the units of a place -> (U,)."""
    others = [dimension for dimension in range(tensor.ndim) if dimension != place.dimension]
    # torch counts truths several times faster in 32 bits than in the 64 of its own choice
    kind = torch.int32 if tensor.dtype == torch.bool else tensor.dtype
    summed = tensor.sum(dim=others, dtype=kind) if others else tensor
    per_unit: Tensor = summed.unflatten(0, (place.copies, -1)).sum(dim=0)
    return per_unit


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
    crossing: Tensor = blocks.diagonal(dim1=1, dim2=3).sum(dim=(0, 1))
    return crossing


def group_size(parameters: Mapping[str, Tensor], width_places: Iterable[Place], *, overlap: Overlap = "twice") -> int:
    """How many entries of matrices the group of a unit has; of each unit as many.

    Args:
        parameters: by name.
        width_places: of one width.
        overlap: see `squared_norms`.
    """
    size, rows = 0, dict[str, Place]()
    for place in width_places:
        shape = parameters[place.parameter].shape
        if len(shape) >= 2:
            size += shape.numel() * place.copies // shape[place.dimension]
            if overlap == "once" and place.parameter in rows:
                size -= rows[place.parameter].copies * place.copies
            rows[place.parameter] = place
    return size


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
            parameter.mul_(factors.repeat(place.copies).view(shape))


def dead_units(parameters: Mapping[str, Tensor], width_places: Iterable[Place]) -> Tensor:
    """Which units a model computes the same without -> (U,) bool.

    A unit that nothing but itself reads is dead, whatever its value; so is one to which everything but itself writes
    zero, bias included: every layer here makes zero of that.
    """
    found = list(width_places)
    units = parameters[found[0].parameter].shape[found[0].dimension] // found[0].copies
    device = parameters[found[0].parameter].device
    read = torch.zeros(units, dtype=torch.bool, device=device)
    written = torch.zeros(units, dtype=torch.bool, device=device)
    for place in found:
        entries = parameters[place.parameter].detach() != 0
        count = unit_sums(entries, place)
        for other in found:
            if other.parameter == place.parameter and other.dimension != place.dimension:
                first, second = sorted((place, other), key=lambda each: each.dimension)
                count = count - _crossing(entries, first, second)
        alive = count > 0
        if place.role in ("reads", "both"):
            read |= alive
        if place.role in ("writes", "both"):
            written |= alive
    return ~(read & written)
