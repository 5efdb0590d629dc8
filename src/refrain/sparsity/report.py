"""What is zero in a model, which units are dead, and what the model costs with and without them.

R rows and C columns of a matrix, U units in a width.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refrain.axes import Axis, AxisTable

from .compact import dead_by_width, widths_left
from .groups import squared_norms, unit_axes, zero_share
from .sizes import multiply_adds, parameter_count


class MatrixView(NamedTuple):
    """A matrix as a picture shows it.

    Attributes:
        name: of the parameter.
        shape: R and C.
        widths: what runs along the rows and the columns, with the number of copies where there are several.
        copies: how many blocks are stacked along the rows and the columns.
        zeros: share of the entries.
        shares: as from `block_shares`.
    """

    name: str
    shape: tuple[int, int]
    widths: tuple[str, str]
    copies: tuple[int, int]
    zeros: float
    shares: Tensor


class WidthView(NamedTuple):
    """The groups of a width as a picture shows them.

    Attributes:
        name: of the width.
        norms: of the units' groups (U,).
        dead: which units are dead (U,).
    """

    name: str
    norms: Tensor
    dead: Tensor


def report(
    parameters: Mapping[str, Tensor], table: AxisTable, widths: Mapping[str, int], removable: Sequence[str]
) -> dict[str, Any]:
    """The figures of a sparse model, as plain data. Nothing is changed.

    Args:
        parameters: by name.
        table: their axes.
        widths: the sizes of all widths.
        removable: those whose units can go.

    Returns:
        `zeros`, the share of the matrices' entries; `widths` with `units`, `dead` and `left` for each that can be
        smaller, `tensors` with `shape`, `zeros`, `zero_rows` and `zero_columns`; `parameters` and `multiply_adds` a
        token, and the same after compaction as `compact_parameters` and `compact_multiply_adds`.
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
    """The matrices and widths of a model as pictures show them.

    Args:
        parameters: by name.
        table: their axes.
        removable: widths whose units can go.
        pixels: along a matrix's side, at most.
    """
    dead = dead_by_width(parameters, table, removable)
    matrices = []
    for name, parameter in parameters.items():
        if parameter.ndim != 2:
            continue
        rows, columns = table[name]
        gone = [
            _here(dead[axis.width], axis) if axis.width in dead else torch.zeros(length, dtype=torch.bool)
            for axis, length in zip((rows, columns), parameter.shape, strict=True)
        ]
        matrices.append(
            MatrixView(
                name,
                (parameter.shape[0], parameter.shape[1]),
                (_along(rows), _along(columns)),
                (rows.copies, columns.copies),
                1 - int(parameter.count_nonzero()) / parameter.numel(),
                block_shares(parameter.detach(), *gone, pixels=pixels),
            )
        )
    found = unit_axes(table)
    norms = {width: squared_norms(parameters, found[width]).detach().sqrt() for width in removable}
    return matrices, [WidthView(width, norms[width], dead[width]) for width in removable]


def _here(which: Tensor, axis: Axis) -> Tensor:
    """Which rows or columns of a matrix belong to the units (U,) that stand along its axis."""
    begin, end = (0, len(which)) if axis.segment is None else axis.segment[:2]
    return which[begin:end].repeat(axis.copies)


def _along(axis: Axis) -> str:
    part = "" if axis.segment is None else f"[{axis.segment.begin}:{axis.segment.end}]"
    return f"{axis.width}{part}" if axis.copies == 1 else f"{axis.copies} × {axis.width}{part}"


def block_shares(matrix: Tensor, dead_rows: Tensor, dead_columns: Tensor, *, pixels: int) -> Tensor:
    """What a matrix is made of, block by block.

    Args:
        matrix: (R, C).
        dead_rows: which rows belong to dead units (R,).
        dead_columns: which columns do (C,).
        pixels: blocks along a side, at most; a smaller matrix has a block for each row or column.

    Returns:
        (3, rows, columns): the shares of a block's entries that are not zero and stay, that are not zero and go with a
        dead unit, and that are zero and go.
    """
    rows, columns = (_blocks(length, pixels) for length in matrix.shape)
    stay, live = ~dead_rows, ~dead_columns
    filled = (matrix != 0).float()
    entries = torch.outer(rows.bincount(), columns.bincount())
    kept = _pooled(filled[stay][:, live], rows[stay], columns[live], entries.shape)
    lost = _pooled(filled, rows, columns, entries.shape) - kept
    gone = entries - torch.outer(
        rows[stay].bincount(minlength=entries.shape[0]), columns[live].bincount(minlength=entries.shape[1])
    )
    return torch.stack([kept, lost, gone - lost]) / entries


def _blocks(length: int, pixels: int) -> Tensor:
    """The block of each row or column; all blocks are of nearly the same size."""
    return torch.arange(length) * min(length, pixels) // length


def _pooled(values: Tensor, rows: Tensor, columns: Tensor, shape: torch.Size) -> Tensor:
    """The sums of values (R, C) over blocks, by the block of each row and column."""
    bands = values.new_zeros(shape[0], len(columns)).index_add_(0, rows, values)
    return values.new_zeros(shape).index_add_(1, columns, bands)
