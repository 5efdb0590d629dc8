"""Removing units from a model exactly: the smaller model computes the same function.

U units in a width.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from refrain.axes import Axis, AxisTable, removable

from .groups import UnitAxis, dead_units, group_sizes, squared_norms, unit_axes


def select_units(tensors: Mapping[str, Tensor], table: AxisTable, kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Select the kept units of each width from all tensors.

    Args:
        tensors: parameters by name, as in `dict(model.named_parameters())`.
        table: the axes of the parameters.
        kept: for each width to reduce, the units to keep: their indices, ascending, or (U,) bool, such as the inverse
            of what `dead_by_width` returns. Of each width, and of each block of a sparse layer or band of words in it,
            at least one unit must be kept.

    Returns:
        New contiguous tensors by name.

    Raises:
        ValueError: when the model does not have a width, its units cannot be removed, the kept units are not such
            indices or booleans, or the table does not have a tensor.
    """
    possible = removable(table)
    for width in kept:
        if width not in possible:
            known = any(axis.width == width for axes in table.values() for axis in axes)
            cause = "its units cannot be removed" if known else "the model has no such width"
            raise ValueError(f"width {width!r}: {cause}; choose from {', '.join(possible)}")
    if unknown := next((name for name in tensors if name not in table), None):
        raise ValueError(
            f"tensor {unknown!r}: the table has no axes for it; give dict(model.named_parameters()), which has a tied "
            "weight once and no buffers"
        )
    chosen: dict[str, Tensor] = {}
    smaller = {}
    for name, tensor in tensors.items():
        for dimension, axis in enumerate(table[name]):
            if axis.width in kept:
                units = tensor.shape[dimension] // axis.copies
                if axis.width not in chosen:
                    size = units if axis.segment is None else axis.segment.of
                    chosen[axis.width] = _kept_units(axis.width, kept[axis.width], size)
                indices = _within(axis, chosen[axis.width]).to(tensor.device)
                index = torch.cat([indices + copy * units for copy in range(axis.copies)])
                tensor = tensor.index_select(dimension, index)
        smaller[name] = tensor.contiguous()
    return smaller


def _kept_units(width: str, kept: Tensor, units: int) -> Tensor:
    """Return the ascending indices of the units to keep, of indices or of (U,) bool."""
    kept = torch.as_tensor(kept)
    if kept.dtype == torch.bool and kept.shape == (units,):
        kept = kept.nonzero().flatten()
    elif kept.dtype not in (torch.int64, torch.int32) or kept.ndim != 1:
        got = f"{str(kept.dtype).removeprefix('torch.')} of shape {tuple(kept.shape)}"
        raise ValueError(
            f"width {width!r}: the units to keep must be int64 indices, or bool of shape {(units,)} (got {got})"
        )
    if not len(kept):
        raise ValueError(f"width {width!r}: all {units} units would be removed; keep at least one")
    if kept[0] < 0 or kept[-1] >= units or (kept.diff() <= 0).any():
        raise ValueError(f"width {width!r}: the indices of the units to keep must ascend within 0 and {units - 1}")
    return kept


def _within(axis: Axis, kept: Tensor) -> Tensor:
    """Return the indices of the kept units along an axis that covers all units of a width, or a segment of them."""
    if axis.segment is None:
        return kept
    begin, end, _ = axis.segment
    inside = kept[(kept >= begin) & (kept < end)] - begin
    if not len(inside):
        span = f"units {begin} to {end - 1}, those of a block or band"
        raise ValueError(f"width {axis.width!r}: all of {span}, would be removed; keep at least one of them")
    return inside


def clear_units(parameters: Mapping[str, Tensor], width_axes: Sequence[UnitAxis], dead: Tensor) -> None:
    """Set all entries of some units to zero, biases included, in place.

    Args:
        parameters: the parameters by name.
        width_axes: the axes of one width, from `unit_axes`.
        dead: (U,) bool, the units to clear.
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
    """Find the dead units of some widths, including those that die once other units are removed.

    Args:
        parameters: the parameters by name; they are not changed.
        table: the axes of the parameters.
        widths: the widths whose units may be removed.
        gone: width -> (U,) bool, units that are removed in any case.

    Returns:
        Width -> (U,) bool. All units of a width can be dead, but those of a block or band without the first.

    Raises:
        ValueError: when the model does not have a width, or what is gone is not bool.
    """
    dead = dict(gone or {})
    check_dead(dead)
    found = _axes_of(table, (*widths, *dead))
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


def _axes_of(table: AxisTable, widths: Sequence[str]) -> dict[str, list[UnitAxis]]:
    found = unit_axes(table)
    if unknown := next((width for width in widths if width not in found), None):
        raise ValueError(f"width {unknown!r}: the model has no such width; choose from {', '.join(found)}")
    return found


def check_dead(dead: Mapping[str, Tensor]) -> None:
    """Check that dead units are given as bool.

    Args:
        dead: width -> (U,).

    Raises:
        ValueError: when they are not.
    """
    for width, which in dead.items():
        if which.dtype != torch.bool:
            got = str(which.dtype).removeprefix("torch.")
            raise ValueError(f"width {width!r}: dead units must be bool, a value for each unit (got {got})")


def segments_by_width(table: AxisTable) -> dict[str, set[tuple[int, int]]]:
    """Find the segments of each width that belong to blocks of sparse layers or bands of embeddings.

    Args:
        table: the axes of the parameters.

    Returns:
        Width -> pairs of the first unit and the one after the last.
    """
    found: dict[str, set[tuple[int, int]]] = {}
    for axis in (axis for axes in table.values() for axis in axes if axis.segment is not None):
        assert axis.segment is not None
        found.setdefault(axis.width, set()).add((axis.segment.begin, axis.segment.end))
    return found


def spared(dead: Mapping[str, Tensor], table: AxisTable) -> dict[str, Tensor]:
    """Spare one unit in each segment of a width all of whose units are dead, since a block cannot be empty.

    Args:
        dead: width -> (U,) bool.
        table: the axes of the parameters.

    Returns:
        Width -> (U,) bool, the units that can be removed.
    """
    left = {width: which.clone() for width, which in dead.items()}
    for width, segments in segments_by_width(table).items():
        for begin, end in sorted(segments) if width in left else ():
            if left[width][begin:end].all():
                left[width][begin] = False
    return left


def widths_left(widths: Mapping[str, int], dead: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the sizes of all widths without the dead units; one unit of each width always counts as kept.

    Args:
        widths: the sizes with the dead units.
        dead: width -> (U,) bool.

    Raises:
        ValueError: when the dead units are not bool.
    """
    check_dead(dead)
    return dict(widths) | {width: max(1, int((~which).sum())) for width, which in dead.items()}


def largest_entries(parameters: Mapping[str, Tensor], width_axes: Sequence[UnitAxis]) -> Tensor:
    """Return the largest absolute entry in the matrices of each unit's group (U,)."""
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
    """Rank the units of some widths by the root mean square of the entries in their groups, the smallest first.

    Args:
        parameters: the parameters by name.
        table: the axes of the parameters.
        widths: the widths whose units are ranked together.

    Returns:
        (width, unit) pairs.

    Raises:
        ValueError: when the model does not have a width.
    """
    ranked: list[tuple[float, str, int]] = []
    found = _axes_of(table, widths)
    for width in widths:
        squares = squared_norms({name: value.detach() for name, value in parameters.items()}, found[width])
        entries = group_sizes(parameters, found[width])
        ranked += [(value, width, unit) for unit, value in enumerate((squares / entries).sqrt().tolist())]
    return [(width, unit) for _, width, unit in sorted(ranked)]
