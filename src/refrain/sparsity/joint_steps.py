"""The proximal steps of several widths in one pass over each matrix.

`UnitLasso.step` is the reference: it takes the widths in turn, and each time reads and writes all matrices along a
width. Here the factors of rows and columns are collected, the norms of a later width are those of the matrices times
the factors so far, and each matrix is multiplied once, by the factors of its rows and of its columns.

R rows, C columns of a matrix; U units in a width.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from refrain.nn.kernels.call import call

from .groups import UnitAxis
from .penalties import Penalty, UnitLasso


def take_steps(penalties: Sequence[Penalty], learning_rate: float, *, native: bool) -> None:
    """Take the proximal step of each penalty, in turn, with the weights that the one before leaves. In place.

    Args:
        penalties: of one model; those without a strength do nothing.
        learning_rate: the learning rate of the optimiser's step.
        native: take the steps on units, where they follow one another, by the C++ kernels, if these take the matrices.
    """
    active = [penalty for penalty in penalties if penalty.strength]
    with torch.no_grad():
        for on_units, run in itertools.groupby(active, lambda penalty: isinstance(penalty, UnitLasso)):
            found = list(run)
            lassos = [penalty for penalty in found if isinstance(penalty, UnitLasso)]
            if native and on_units and all(map(_fits, lassos)) and _joint_steps(lassos, learning_rate):
                continue
            for penalty in found:
                penalty.step(learning_rate)


def _fits(penalty: UnitLasso) -> bool:
    """Whether all entries of a penalty's groups are counted by rows and columns of matrices that the kernels take."""
    matrices = [penalty.parameters[unit_axis.parameter] for unit_axis in penalty.unit_axes]
    return penalty.overlap == "twice" and all(
        matrix.ndim == 1
        or (
            matrix.ndim == 2
            and matrix.dtype == torch.float32
            and matrix.device.type == "cpu"
            and matrix.is_contiguous()
        )
        for matrix in matrices
    )


class _Lines:
    """A matrix (R, C), the factors of its rows and columns that it is not multiplied by yet, and sums of squares.

    Args:
        matrix: (R, C).
        dimensions: those of the axes along which sums are needed: 0 for rows, 1 for columns.
    """

    def __init__(self, matrix: Tensor, dimensions: set[int]) -> None:
        self.matrix = matrix
        self.dimensions = dimensions
        self.factors: list[Tensor | None] = [None, None]
        self._squares: list[Tensor | None] | None = None

    def squares(self, dimension: int) -> Tensor | None:
        """The sum of squares of each row (0) or column (1), or None if the kernel failed."""
        if self._squares is None:
            sums = [
                self.matrix.new_empty(self.matrix.shape[each]) if each in self.dimensions else None for each in (0, 1)
            ]
            if not call("update", "line_squares", self.matrix, *self.factors, *sums, *self.matrix.shape):
                return None
            self._squares = sums
        return self._squares[dimension]

    def multiply(self, factors: Tensor, dimension: int) -> None:
        """Multiply rows (0) or columns (1) by factors, later."""
        before = self.factors[dimension]
        self.factors[dimension] = factors if before is None else before * factors
        self._squares = None

    def finish(self) -> None:
        """Multiply the matrix by all factors, in place."""
        if any(part is not None for part in self.factors) and not call(
            "update", "scale_lines", self.matrix, *self.factors, *self.matrix.shape
        ):
            for factors, other in zip(self.factors, (1, 0), strict=True):
                if factors is not None:
                    self.matrix.mul_(factors.unsqueeze(other))


def _joint_steps(penalties: Sequence[UnitLasso], learning_rate: float) -> bool:
    """Take all steps, unless a kernel fails before a weight was changed; returns whether they were taken."""
    lines = _lines_of(penalties)
    for penalty in penalties:
        squares = _unit_squares(lines, penalty)
        if squares is None:
            return False
        factors = penalty.factors(squares.sqrt(), learning_rate)
        for unit_axis in _matrix_axes(penalty):
            lines[unit_axis.parameter].multiply(_along(unit_axis, factors), unit_axis.dimension)
    for each in lines.values():
        each.finish()
    torch.autograd.graph.increment_version([each.matrix for each in lines.values()])
    return True


def _matrix_axes(penalty: UnitLasso) -> Iterable[UnitAxis]:
    return (unit_axis for unit_axis in penalty.unit_axes if penalty.parameters[unit_axis.parameter].ndim == 2)


def _lines_of(penalties: Sequence[UnitLasso]) -> Mapping[str, _Lines]:
    """Every matrix with a unit of the penalties, by name."""
    dimensions: dict[str, set[int]] = {}
    for penalty in penalties:
        for unit_axis in _matrix_axes(penalty):
            dimensions.setdefault(unit_axis.parameter, set()).add(unit_axis.dimension)
    parameters = {name: parameter for penalty in penalties for name, parameter in penalty.parameters.items()}
    return {name: _Lines(parameters[name].detach(), found) for name, found in dimensions.items()}


def _unit_squares(lines: Mapping[str, _Lines], penalty: UnitLasso) -> Tensor | None:
    """The sum of squares of each unit's group (U,), or None if a kernel failed or there is no group."""
    total: Tensor | None = None
    for unit_axis in _matrix_axes(penalty):
        found = lines[unit_axis.parameter].squares(unit_axis.dimension)
        if found is None:
            return None
        part = unit_axis.to_units(found.unflatten(0, (unit_axis.axis.copies, -1)).sum(dim=0))
        total = part if total is None else total + part
    return total


def _along(unit_axis: UnitAxis, factors: Tensor) -> Tensor:
    """Factors of all units (U,), for each row or column of the parameter."""
    return unit_axis.broadcast(factors, 2).flatten()
