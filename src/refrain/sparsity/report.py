"""A report on a sparse model: its zeros, its dead units, and its cost with and without them.

R rows and C columns of a matrix, U units in a width.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refrain.axes import Axis, AxisTable

from .compact import dead_by_width, widths_left
from .groups import squared_norms, unit_axes, zero_share
from .sizes import layer_multiply_adds, multiply_adds, parameter_count


class MatrixView(NamedTuple):
    """The data for a picture of a matrix.

    Attributes:
        name: the name of the parameter.
        shape: R and C.
        widths: the widths along the rows and the columns, with the number of copies if there are several.
        copies: the number of blocks stacked along the rows and along the columns.
        zeros: the fraction of the entries that are zero.
        shares: the composition of each block of pixels, from `block_shares`.
    """

    name: str
    shape: tuple[int, int]
    widths: tuple[str, str]
    copies: tuple[int, int]
    zeros: float
    shares: Tensor


class WidthView(NamedTuple):
    """The data for a picture of the groups of a width.

    Attributes:
        name: the name of the width.
        norms: the norms of the units' groups (U,).
        dead: whether each unit is dead (U,).
    """

    name: str
    norms: Tensor
    dead: Tensor


def report(
    parameters: Mapping[str, Tensor], table: AxisTable, widths: Mapping[str, int], removable: Sequence[str]
) -> dict[str, Any]:
    """Return the figures of a sparse model as plain data. The model is not changed.

    Args:
        parameters: the parameters by name.
        table: the axes of the parameters.
        widths: the sizes of all widths.
        removable: the widths whose units can be removed.

    Returns:
        `zeros`, the fraction of the matrices' entries that are zero; `widths` with `units`, `dead` and `left` for each
        removable width; `tensors` with `shape`, `zeros`, `zero_rows` and `zero_columns`; `parameters`,
        `multiply_adds` per token, and `layer_multiply_adds`, those of the recurrent layers; and the same after
        compaction, as `compact_parameters` and so on.
    """
    dead = dead_by_width(parameters, table, removable)
    left = widths_left(widths, dead)
    return {
        "zeros": zero_share(parameters),
        "widths": {
            width: {"units": widths[width], "dead": int(which.sum()), "left": left[width]}
            for width, which in dead.items()
        },
        "tensors": {name: _tensor(parameter) for name, parameter in parameters.items()},
        "parameters": parameter_count(table, widths),
        "compact_parameters": parameter_count(table, widths, dead),
        "multiply_adds": multiply_adds(table, widths),
        "compact_multiply_adds": multiply_adds(table, widths, dead),
        "layer_multiply_adds": layer_multiply_adds(table, widths),
        "compact_layer_multiply_adds": layer_multiply_adds(table, widths, dead),
    }


def _tensor(parameter: Tensor) -> dict[str, Any]:
    zero = parameter.detach() == 0
    matrix = zero.ndim == 2
    return {
        "shape": list(zero.shape),
        "zeros": int(zero.sum()) / zero.numel(),
        "zero_rows": int(zero.all(dim=1).sum()) if matrix else None,
        "zero_columns": int(zero.all(dim=0).sum()) if matrix else None,
    }


def views(
    parameters: Mapping[str, Tensor], table: AxisTable, removable: Sequence[str], *, pixels: int
) -> tuple[list[MatrixView], list[WidthView]]:
    """Return the data for pictures of all matrices and of all removable widths.

    Args:
        parameters: the parameters by name.
        table: the axes of the parameters.
        removable: the widths whose units can be removed.
        pixels: the largest number of pixels along a side of a matrix.
    """
    dead = dead_by_width(parameters, table, removable)
    matrices = []
    for name, parameter in parameters.items():
        if parameter.ndim != 2:
            continue
        rows, columns = table[name]
        gone = [
            _along_axis(dead[axis.width], axis) if axis.width in dead else torch.zeros(length, dtype=torch.bool)
            for axis, length in zip((rows, columns), parameter.shape, strict=True)
        ]
        matrices.append(
            MatrixView(
                name,
                (parameter.shape[0], parameter.shape[1]),
                (_axis_label(rows), _axis_label(columns)),
                (rows.copies, columns.copies),
                1 - int(parameter.count_nonzero()) / parameter.numel(),
                block_shares(parameter.detach(), *gone, pixels=pixels),
            )
        )
    found = unit_axes(table)
    norms = {width: squared_norms(parameters, found[width]).detach().sqrt() for width in removable}
    return matrices, [WidthView(width, norms[width], dead[width]) for width in removable]


def _along_axis(which: Tensor, axis: Axis) -> Tensor:
    """Map a boolean for each unit (U,) to the rows or columns of a matrix that has the units along an axis."""
    begin, end = (0, len(which)) if axis.segment is None else axis.segment[:2]
    return which[begin:end].repeat(axis.copies)


def _axis_label(axis: Axis) -> str:
    part = "" if axis.segment is None else f"[{axis.segment.begin}:{axis.segment.end}]"
    return f"{axis.width}{part}" if axis.copies == 1 else f"{axis.copies} × {axis.width}{part}"


def block_shares(matrix: Tensor, dead_rows: Tensor, dead_columns: Tensor, *, pixels: int) -> Tensor:
    """Divide a matrix into blocks and count what each consists of.

    Args:
        matrix: (R, C).
        dead_rows: whether each row belongs to a dead unit (R,).
        dead_columns: whether each column belongs to a dead unit (C,).
        pixels: the largest number of blocks along a side; a smaller matrix has a block for each row or column.

    Returns:
        (3, rows, columns): the fractions of a block's entries that are non-zero and kept, that are non-zero and removed
        with a dead unit, and that are zero and removed.
    """
    rows, columns = (_blocks(length, pixels) for length in matrix.shape)
    kept_rows = ~dead_rows
    kept_columns = ~dead_columns
    filled = (matrix != 0).float()
    entries = torch.outer(rows.bincount(), columns.bincount())
    kept = _pooled(filled[kept_rows][:, kept_columns], rows[kept_rows], columns[kept_columns], entries.shape)
    lost = _pooled(filled, rows, columns, entries.shape) - kept
    gone = entries - torch.outer(
        rows[kept_rows].bincount(minlength=entries.shape[0]),
        columns[kept_columns].bincount(minlength=entries.shape[1]),
    )
    return torch.stack([kept, lost, gone - lost]) / entries


def _blocks(length: int, pixels: int) -> Tensor:
    """Return the block index of each row or column; all blocks have nearly the same size."""
    return torch.arange(length) * min(length, pixels) // length


def _pooled(values: Tensor, rows: Tensor, columns: Tensor, shape: torch.Size) -> Tensor:
    """Sum values (R, C) over blocks, given the block index of each row and column."""
    bands = values.new_zeros(shape[0], len(columns)).index_add_(0, rows, values)
    return values.new_zeros(shape).index_add_(1, columns, bands)
