"""Taking units out of a model, exactly: what is left computes the same.

U units in a width.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from refrain.axes import AxisTable, removable

from .groups import UnitAxis, dead_units, squared_norms, unit_axes, unit_sums
from .sizes import model_size


def select_units(tensors: Mapping[str, Tensor], table: AxisTable, kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with only the kept units of each width.

    Args:
        tensors: parameters by name.
        table: their axes.
        kept: width -> indices of the units that stay, ascending; other widths stay whole.

    Returns:
        New tensors, contiguous.

    Raises:
        ValueError: when there is no such width, or its units cannot be removed.
    """
    possible = removable(table)
    for width in kept:
        if width not in possible:
            known = any(axis.width == width for axes in table.values() for axis in axes)
            cause = "its units cannot be removed" if known else "the model has no such width"
            raise ValueError(f"width {width!r}: {cause}; choose from {', '.join(possible)}")
    smaller = {}
    for name, tensor in tensors.items():
        for dimension, axis in enumerate(table[name]):
            if axis.width in kept:
                units, here = tensor.shape[dimension] // axis.copies, kept[axis.width]
                if axis.segment is not None:
                    here = here[(here >= axis.segment.begin) & (here < axis.segment.end)] - axis.segment.begin
                index = torch.cat([here + copy * units for copy in range(axis.copies)])
                tensor = tensor.index_select(dimension, index)
        smaller[name] = tensor.contiguous()
    return smaller


def clear_units(parameters: Mapping[str, Tensor], width_axes: Sequence[UnitAxis], dead: Tensor) -> None:
    """Make everything of some units zero, biases included, in place.

    Args:
        parameters: by name.
        width_axes: of one width.
        dead: (U,) bool.
    """
    with torch.no_grad():
        for unit_axis in width_axes:
            parameter = parameters[unit_axis.parameter]
            parameter.masked_fill_(unit_axis.broadcast(dead, parameter.ndim), 0)


def dead_by_width(
    parameters: Mapping[str, Tensor],
    table: AxisTable,
    widths: Sequence[str],
    *,
    gone: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """The dead units of some widths, those among them that die because others go.

    Args:
        parameters: by name; they stay as they are.
        table: their axes.
        widths: whose units may go.
        gone: width -> (U,) bool, units that go in any case.

    Returns:
        Width -> (U,) bool.
    """
    found, dead = unit_axes(table), dict(gone or {})
    entries = {name: parameter.detach() != 0 for name, parameter in parameters.items()}
    for width, which in dead.items():
        clear_units(entries, found[width], which)
    changed = True
    while changed:
        changed = False
        for width in widths:
            now = dead_units(entries, found[width])
            if width not in dead or not torch.equal(now, dead[width]):
                changed |= bool(now.any())
                clear_units(entries, found[width], now)
            dead[width] = now
    return spared(dead, table)


def stretches(table: AxisTable) -> dict[str, set[tuple[int, int]]]:
    """Width -> the parts of it, from one unit up to another, that blocks of sparse layers or embeddings stand on.

    Args:
        table: the axes.
    """
    found: dict[str, set[tuple[int, int]]] = {}
    for axis in (axis for axes in table.values() for axis in axes if axis.segment is not None):
        assert axis.segment is not None
        found.setdefault(axis.width, set()).add((axis.segment.begin, axis.segment.end))
    return found


def spared(dead: Mapping[str, Tensor], table: AxisTable) -> dict[str, Tensor]:
    """The dead units but for one in each part of a width that a block stands on: a block has a unit at least.

    Args:
        dead: width -> (U,) bool.
        table: the axes.
    """
    left = {width: which.clone() for width, which in dead.items()}
    for width, parts in stretches(table).items():
        for begin, end in sorted(parts) if width in left else ():
            if left[width][begin:end].all():
                left[width][begin] = False
    return left


def widths_left(widths: Mapping[str, int], dead: Mapping[str, Tensor]) -> dict[str, int]:
    """The sizes of all widths without the dead units; one unit always stays.

    Args:
        widths: the sizes with them.
        dead: width -> (U,) bool.
    """
    return dict(widths) | {width: max(1, int((~which).sum())) for width, which in dead.items()}


def largest_entries(parameters: Mapping[str, Tensor], width_axes: Sequence[UnitAxis]) -> Tensor:
    """The largest absolute entry of each unit's group, matrices only -> (U,)."""
    largest: Tensor | None = None
    for unit_axis in width_axes:
        parameter = parameters[unit_axis.parameter].detach()
        if parameter.ndim < 2:
            continue
        others = [dimension for dimension in range(parameter.ndim) if dimension != unit_axis.dimension]
        part = unit_axis.to_units(
            parameter.abs().amax(dim=others).unflatten(0, (unit_axis.axis.copies, -1)).amax(dim=0)
        )
        largest = part if largest is None else torch.maximum(largest, part)
    assert largest is not None
    return largest


def weakest_first(parameters: Mapping[str, Tensor], table: AxisTable, widths: Sequence[str]) -> list[tuple[str, int]]:
    """The units of some widths, the weakest first: by the root mean square of their groups' entries.

    Args:
        parameters: by name.
        table: their axes.
        widths: whose units are ranked together.

    Returns:
        (width, unit) pairs.
    """
    ranked: list[tuple[float, str, int]] = []
    found = unit_axes(table)
    for width in widths:
        squares = squared_norms({name: value.detach() for name, value in parameters.items()}, found[width])
        entries = sum(
            unit_sums(torch.ones_like(parameters[unit_axis.parameter]), unit_axis)
            for unit_axis in found[width]
            if parameters[unit_axis.parameter].ndim >= 2
        )
        ranked += [(value, width, unit) for unit, value in enumerate((squares / entries).sqrt().tolist())]
    return [(width, unit) for _, width, unit in sorted(ranked)]


def drop_until(
    ranking: Sequence[tuple[str, int]],
    table: AxisTable,
    widths: Mapping[str, int],
    *,
    measure: str,
    target: int,
    dead: Mapping[str, Tensor] | None = None,
) -> dict[str, list[int]]:
    """The fewest of the weakest units to drop so that a model is no larger than a target.

    Args:
        ranking: units, the weakest first.
        table: the model's axes.
        widths: their sizes.
        measure: `parameters`, `multiply_adds` or `bytes`, of float32.
        target: at most so many.
        dead: width -> (U,) bool, units that are gone already.

    Returns:
        Width -> units to drop; a last unit always stays, of each block's part of a width too.

    Raises:
        ValueError: when the target is out of reach.
    """
    gone = {width: torch.zeros(size, dtype=torch.bool) for width, size in widths.items()}
    gone |= {width: which.cpu().clone() for width, which in (dead or {}).items()}
    left = {width: int((~which).sum()) for width, which in gone.items()}
    dropped: dict[str, list[int]] = {}
    waiting, parts = iter(ranking), stretches(table)

    def can_go(width: str, unit: int) -> bool:
        alone = (
            int((~gone[width][begin:end]).sum()) == 1 for begin, end in parts.get(width, ()) if begin <= unit < end
        )
        return left[width] > 1 and not any(alone)

    while (size := model_size(measure, table, widths, gone)) > target:
        pair = next(((width, unit) for width, unit in waiting if can_go(width, unit)), None)
        if pair is None:
            raise ValueError(f"{measure} cannot go below {size:,} (asked for {target:,})")
        width, unit = pair
        left[width] -= 1
        gone[width][unit] = True
        dropped.setdefault(width, []).append(unit)
    return dropped
