"""Penalties that make weights zero: L1, and group lasso on units, rows and columns.

Each has two forms. As a loss term it is the smooth penalty that gradient descent sees; as a proximal step it moves the
weights after each step of the optimiser to where the penalty itself, not its gradient, wants them, which gives exact
zeros (Parikh & Boyd, 2014, Proximal Algorithms, section 6.5). Groups of intrinsic sparse structures: Wen et al. (2018).

U units in a width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from .groups import Overlap, UnitAxis, group_sizes, scale_units, squared_norms

SMOOTHING = 1e-8

Scaling = Literal["none", "sqrt-size"]


@dataclass
class L1:
    """The sum of absolute values.

    Attributes:
        parameters: that are penalised.
        strength: lambda, relative to the loss; may be changed during a run.
    """

    parameters: Sequence[Tensor]
    strength: float

    def loss(self) -> Tensor:
        """The penalty, a scalar with a gradient."""
        return self.strength * torch.stack([parameter.abs().sum() for parameter in self.parameters]).sum()

    def step(self, learning_rate: float) -> None:
        """Move every entry towards zero by learning_rate * strength, and no further. In place."""
        threshold = learning_rate * self.strength
        with torch.no_grad():
            for parameter in self.parameters:
                parameter.copy_(torch.nn.functional.softshrink(parameter, threshold))


@dataclass
class UnitLasso:
    """Group lasso on the units of one width: the norm of all that goes when a unit goes, summed over units.

    Attributes:
        parameters: all of the model's, by name.
        unit_axes: of the width.
        strength: lambda times the width's multiplier, relative to the loss; may be changed during a run.
        scaling: `sqrt-size` multiplies by the square root of the number of entries in a group (Yuan & Lin, 2006).
        overlap: entries in a row and a column of one unit count `twice` or `once`.
    """

    parameters: Mapping[str, Tensor]
    unit_axes: Sequence[UnitAxis]
    strength: float
    scaling: Scaling = "none"
    overlap: Overlap = "twice"
    _sizes: Tensor | None = field(default=None, init=False, repr=False)

    def shrinkage(self, learning_rate: float) -> Tensor:
        """How much a step shortens each group (U,), or all of them.

        Args:
            learning_rate: of the optimiser's step.
        """
        return learning_rate * self.strength * self._scale()

    def _scale(self) -> Tensor:
        if self.scaling == "none":
            return torch.ones(())
        if self._sizes is None:
            self._sizes = group_sizes(self.parameters, self.unit_axes, overlap=self.overlap)
        return self._sizes.sqrt()

    def norms(self) -> Tensor:
        """The norm of each unit's group (U,)."""
        return squared_norms(self.parameters, self.unit_axes, overlap=self.overlap).sqrt()

    def loss(self) -> Tensor:
        """The penalty, a scalar with a gradient; smooth at zero, as in the paper's code."""
        squares = squared_norms(self.parameters, self.unit_axes, overlap=self.overlap)
        return self.strength * (self._scale() * (squares + SMOOTHING).sqrt()).sum()

    def step(self, learning_rate: float) -> None:
        """Shorten every group by learning_rate * strength, and no further than zero. In place.

        Exact for groups that do not overlap. An entry in the groups of two units is shortened for each in turn.
        """
        with torch.no_grad():
            norms = self.norms()
            shrink = self.shrinkage(learning_rate) / norms.clamp_min(torch.finfo(norms.dtype).tiny)
            scale_units(self.parameters, self.unit_axes, (1 - shrink).clamp_min(0))


@dataclass
class LineLasso:
    """Group lasso on rows or columns, each a group of its own.

    Attributes:
        parameters: lists of matrices; a line runs through all matrices of a list, which stand side by side.
        strength: lambda, relative to the loss; may be changed during a run.
        dimension: 1 for rows, whose entries are summed along it, 0 for columns.
    """

    parameters: Sequence[Sequence[Tensor]]
    strength: float
    dimension: Literal[0, 1]

    def _squares(self, matrices: Sequence[Tensor]) -> Tensor:
        return torch.stack([matrix.square().sum(self.dimension) for matrix in matrices]).sum(0)

    def loss(self) -> Tensor:
        """The penalty, a scalar with a gradient; smooth at zero."""
        norms = [(self._squares(matrices) + SMOOTHING).sqrt().sum() for matrices in self.parameters]
        return self.strength * torch.stack(norms).sum()

    def step(self, learning_rate: float) -> None:
        """Shorten every row or column by learning_rate * strength, and no further than zero. In place."""
        with torch.no_grad():
            for matrices in self.parameters:
                norms = self._squares(matrices).sqrt().unsqueeze(self.dimension)
                shrink = learning_rate * self.strength / norms.clamp_min(torch.finfo(norms.dtype).tiny)
                for matrix in matrices:
                    matrix.mul_((1 - shrink).clamp_min(0))


Penalty = L1 | UnitLasso | LineLasso


def threshold(parameters: Sequence[Tensor], smallest: float) -> None:
    """Make every entry zero whose absolute value is below `smallest`, in place."""
    with torch.no_grad():
        for parameter in parameters:
            parameter.masked_fill_(parameter.abs() < smallest, 0.0)
