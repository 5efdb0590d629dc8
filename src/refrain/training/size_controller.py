"""Steering penalties on units so that a model shrinks to a size.

U units in a width.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from refrain.axes import AxisTable
from refrain.sparsity import UnitLasso, clear_units, dead_by_width, drop_until, model_size, unit_axes

# the strengths change by exp(GAIN * error * share of the run between two looks), the error being a share of the way
GAIN = 65.0
MOST_CHANGE = 0.5
# of the units that are to stay, a quarter may lose this share of their norm between two looks, or more
MOST_LOSS, WEAK = 0.1, 0.25


@dataclass
class Controller:
    """Makes a model shrink along a path to a target and stay there, by the strengths of the penalties on its units.

    The wanted size falls from the first one along a cubic to the target at `reached`. Strengths grow while the model is
    larger than wanted and fall while it is smaller. They are never so large that more than a quarter of the units which
    the path still holds could lose over a tenth of their norm until the next look: units of one strength die at once,
    and hardly come back. What is too large in the end loses its weakest units.

    Attributes:
        parameters: of the model, by name.
        table: their axes.
        widths: the sizes of all widths, dead units included.
        removable: the widths whose units can go.
        lassos: width -> the penalty on its units, which is steered.
        measure: `parameters`, `multiply_adds` or `bytes`.
        target: the size to reach.
        reached: share of the run.
        first: the size at the start.
        now: the size at the last look.
        done: whether the target is reached.
    """

    parameters: Mapping[str, Tensor]
    table: AxisTable
    widths: Mapping[str, int]
    removable: tuple[str, ...]
    lassos: Mapping[str, UnitLasso]
    measure: str
    target: int
    reached: float
    first: int = field(init=False)
    now: int = field(init=False)
    done: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.first = self.now = self._size(self._dead())

    def look(self, progress: float, share: float, rate: float, *, last: bool) -> None:
        """Take the model's size and set the strengths; in the end, drop what is too large. In place.

        Args:
            progress: share of the run that is over.
            share: of the run, from one look to the next.
            rate: sum of the learning rates of the steps until the next look.
            last: the target must be reached now.
        """
        dead = self._dead()
        self.now = self._size(dead)
        if self.now > self.target and last:
            self._drop(dead)
            self.now = self._size(self._dead())
        self.done = self.now <= self.target
        factor = 0.0 if self.done else self._factor(dead, progress, share, rate)
        for lasso in self.lassos.values():
            lasso.strength *= factor

    def _factor(self, dead: Mapping[str, Tensor], progress: float, share: float, rate: float) -> float:
        """What the strengths are to be multiplied with."""
        error = (self.now - self._wanted(progress)) / (self.first - self.target)
        factor = math.exp(max(-MOST_CHANGE, min(MOST_CHANGE, GAIN * error * share)))
        ranking = self._ranking(dead)
        going = self._going(ranking, dead, self._wanted(progress + share))
        lives = [life for life, width, unit in ranking if unit not in going.get(width, ())]
        # the rate is 0 at the end of some schedules
        return min(factor, MOST_LOSS * lives[int(WEAK * len(lives))] / rate) if rate and lives else factor

    def _wanted(self, progress: float) -> float:
        return self.target + (self.first - self.target) * max(1 - progress / self.reached, 0.0) ** 3

    def _ranking(self, dead: Mapping[str, Tensor]) -> list[tuple[float, str, int]]:
        """(life, width, unit) of the living units, the first to die first; at a rate of 1, a life is so many steps."""
        ranking: list[tuple[float, str, int]] = []
        for width, lasso in self.lassos.items():
            lives = (lasso.norms().detach() / lasso.shrinkage(1.0)).tolist()
            ranking += [(lives[unit], width, unit) for unit in (~dead[width]).nonzero().flatten().tolist()]
        return sorted(ranking)

    def _going(
        self, ranking: list[tuple[float, str, int]], dead: Mapping[str, Tensor], size: float
    ) -> dict[str, set[int]]:
        order = [(width, unit) for _, width, unit in ranking]
        dropped = drop_until(order, self.table, self.widths, measure=self.measure, target=math.ceil(size), dead=dead)
        return {width: set(units) for width, units in dropped.items()}

    def _drop(self, dead: Mapping[str, Tensor]) -> None:
        found = unit_axes(self.table)
        for width, units in self._going(self._ranking(dead), dead, self.target).items():
            going = torch.zeros_like(dead[width])
            going[list(units)] = True
            clear_units(self.parameters, found[width], going)

    def _dead(self) -> dict[str, Tensor]:
        return dead_by_width(self.parameters, self.table, self.removable)

    def _size(self, dead: Mapping[str, Tensor]) -> int:
        return model_size(self.measure, self.table, self.widths, dead)
