"""Penalties that make weights zero: L1, and group lasso on units, rows and columns.

Each has two forms. As a loss term it is a smooth penalty for gradient descent. As a proximal step it applies the
proximal operator of the penalty to the weights after each step of the optimiser, which gives exact zeros (Parikh &
Boyd, 2014, Proximal Algorithms, section 6.5). The groups are the intrinsic sparse structures of Wen et al. (2018).

U units in a width.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from refrain.arguments import check_choice, real_of
from refrain.errors import UserError, shown
from refrain.nn.precision import HALF, widened

from .groups import Overlap, UnitAxis, group_sizes, scale_units, squared_norms

SMOOTHING = 1e-8

Scaling = Literal["none", "sqrt-size"]


def _check_steps(parameters: Iterable[Tensor]) -> None:
    """Refuse proximal steps on parameters of half precision, which would round back to what they were."""
    dtype = next((parameter.dtype for parameter in parameters if parameter.dtype in HALF), None)
    if dtype is not None:
        name = str(dtype).removeprefix("torch.")
        raise UserError(
            f"step: changes parameters by less than {name} can hold; keep the parameters in float32, and use "
            "torch.autocast"
        )


def _checked_strength(given: Any) -> float:
    """The strength of a penalty; a negative one would reward what it is against."""
    strength = real_of(given, "strength")
    if not strength >= 0:
        raise UserError(f"strength must be at least 0 (got {strength})")
    return strength


@dataclass
class L1:
    """The L1 penalty: the sum of absolute values.

    Attributes:
        parameters: the parameters that are penalised, in any iterable.
        strength: lambda, at least 0 and relative to the loss; may be changed during a run.

    Raises:
        UserError: when the strength is negative or no number.
    """

    parameters: Iterable[Tensor]
    strength: float

    def __post_init__(self) -> None:
        # an iterator, as `model.parameters()` is, ends after one use
        self.parameters = list(self.parameters)
        self.strength = _checked_strength(self.strength)

    def loss(self) -> Tensor:
        """Return the penalty, a scalar with a gradient."""
        return self.strength * torch.stack([widened(each).abs().sum() for each in self.parameters]).sum()

    def step(self, learning_rate: float) -> None:
        """Move every entry towards zero by learning_rate * strength, but not past zero. In place."""
        _check_steps(self.parameters)
        threshold = learning_rate * self.strength
        with torch.no_grad():
            for parameter in self.parameters:
                parameter.copy_(torch.nn.functional.softshrink(parameter, threshold))


@dataclass
class UnitLasso:
    """Group lasso on the units of one width: the norm of all entries that are removed with a unit, summed over units.

    Attributes:
        parameters: all parameters of the model, by name.
        unit_axes: the axes of the width, from `unit_axes`.
        strength: lambda times the width's multiplier, at least 0 and relative to the loss; may be changed during a run.
        scaling: `sqrt-size` multiplies by the square root of the number of entries in a group (Yuan & Lin, 2006).
        overlap: entries in a row and a column of one unit count `twice` or `once`.
        penalised: (U,) bool, the units that the penalty acts on; None for all. May be changed during a run.

    Raises:
        UserError: when the strength is negative or no number, or `scaling` or `overlap` is another word.
    """

    parameters: Mapping[str, Tensor]
    unit_axes: Sequence[UnitAxis]
    strength: float
    scaling: Scaling = "none"
    overlap: Overlap = "twice"
    penalised: Tensor | None = None
    _sizes: Tensor | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.strength = _checked_strength(self.strength)
        check_choice("scaling", self.scaling, get_args(Scaling))
        check_choice("overlap", self.overlap, get_args(Overlap))

    def shrinkage(self, learning_rate: float) -> Tensor:
        """Return by how much a step reduces the norm of each group, (U,) or a scalar for all groups.

        Args:
            learning_rate: the learning rate of the optimiser's step.
        """
        return learning_rate * self.strength * self._scale()

    def _scale(self) -> Tensor:
        if self.scaling == "none":
            return torch.ones(())
        if self._sizes is None:
            self._sizes = group_sizes(self.parameters, self.unit_axes, overlap=self.overlap)
        return self._sizes.sqrt()

    def norms(self) -> Tensor:
        """Return the norm of each unit's group (U,)."""
        return squared_norms(self.parameters, self.unit_axes, overlap=self.overlap).sqrt()

    def loss(self) -> Tensor:
        """Return the penalty, a scalar with a gradient; it is smooth at zero, as in the paper's code."""
        squares = squared_norms(self.parameters, self.unit_axes, overlap=self.overlap)
        norms = self._scale() * (squares + SMOOTHING).sqrt()
        return self.strength * (norms if self.penalised is None else norms * self.penalised).sum()

    def step(self, learning_rate: float) -> None:
        """Reduce the norm of every penalised group by learning_rate * strength, but not below zero. In place.

        The step is exact for groups that do not overlap. An entry in two groups is scaled for each in turn.
        """
        _check_steps(self.parameters[each.parameter] for each in self.unit_axes)
        with torch.no_grad():
            scale_units(self.parameters, self.unit_axes, self.factors(self.norms(), learning_rate))

    def factors(self, norms: Tensor, learning_rate: float) -> Tensor:
        """Return what a step multiplies each group by (U,).

        Args:
            norms: the norm of each group (U,).
            learning_rate: the learning rate of the optimiser's step.
        """
        shrink = self.shrinkage(learning_rate) / norms.clamp_min(torch.finfo(norms.dtype).tiny)
        factors = (1 - shrink).clamp_min(0)
        return factors if self.penalised is None else factors.masked_fill(~self.penalised, 1.0)


@dataclass
class LineLasso:
    """Group lasso on rows or columns ("lines"), each of which is a group.

    Attributes:
        parameters: lists of matrices; the matrices of a list are treated as one, concatenated along the line.
        strength: lambda, at least 0 and relative to the loss; may be changed during a run.
        dimension: 1 for rows, whose entries are summed along it, 0 for columns.

    Raises:
        UserError: when the strength is negative or no number, or the dimension is another.
    """

    parameters: Iterable[Iterable[Tensor]]
    strength: float
    dimension: Literal[0, 1]

    def __post_init__(self) -> None:
        self.parameters = [list(matrices) for matrices in self.parameters]
        self.strength = _checked_strength(self.strength)
        if self.dimension not in (0, 1):
            raise UserError(f"dimension: must be 1 for rows or 0 for columns (got {shown(self.dimension)})")

    def _squares(self, matrices: Iterable[Tensor]) -> Tensor:
        return torch.stack([widened(matrix).square().sum(self.dimension) for matrix in matrices]).sum(0)

    def loss(self) -> Tensor:
        """Return the penalty, a scalar with a gradient; it is smooth at zero."""
        norms = [(self._squares(matrices) + SMOOTHING).sqrt().sum() for matrices in self.parameters]
        return self.strength * torch.stack(norms).sum()

    def step(self, learning_rate: float) -> None:
        """Reduce the norm of every row or column by learning_rate * strength, but not below zero. In place."""
        _check_steps(matrix for matrices in self.parameters for matrix in matrices)
        with torch.no_grad():
            for matrices in self.parameters:
                norms = self._squares(matrices).sqrt().unsqueeze(self.dimension)
                shrink = learning_rate * self.strength / norms.clamp_min(torch.finfo(norms.dtype).tiny)
                for matrix in matrices:
                    matrix.mul_((1 - shrink).clamp_min(0))


Penalty = L1 | UnitLasso | LineLasso


def threshold(parameters: Sequence[Tensor], smallest: float) -> None:
    """Set every entry whose absolute value is below `smallest` to zero, in place."""
    with torch.no_grad():
        for parameter in parameters:
            parameter.masked_fill_(parameter.abs() < smallest, 0.0)
