"""A controller of group-lasso strengths that shrinks a model to a target size.

U units in a width.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from refrain.axes import AxisTable
from refrain.sparsity import UnitLasso, clear_units, dead_by_width, drop_until, model_size, unit_axes
from refrain.sparsity.dropping import UnreachableError
from refrain.sparsity.sizes import unit_sizes

# an update multiplies the strengths by exp(GAIN * error * fraction of the run since the last update), where the error
# is relative to the total reduction
GAIN = 65.0
MAX_LOG_CHANGE = 0.5
# until the next update, at most a quarter of the units to keep may lose more than this fraction of their norm
MAX_LOSS, WEAK = 0.1, 0.25
AHEAD = 0.05
"""The fraction of the run in which the weakest units are to die, where only they are penalised."""


@dataclass
class Controller:
    """Shrinks a model to a target size by adjusting the strengths of the penalties on its units.

    The planned size decreases along a cubic from the first size to the target at `reached`. Strengths grow while the
    model is larger than planned and fall while it is smaller. They are limited so that at most a quarter of the units
    that the plan keeps can lose more than a tenth of their norm until the next update, since units of similar norm
    would otherwise die together, and dead units rarely recover. The strongest unit of each width is not penalised, so
    that no width dies as a whole. If the model is still too large at `reached`, its weakest units are removed.

    With `weakest`, the penalty acts on the units alone that the planned size leaves out next, by their norms, with a
    strength by which they die in time, and the other units keep their norms. Wang et al. (2021,
    arXiv 2012.09243) do so with an L2 penalty.

    Attributes:
        parameters: the parameters of the model by name.
        table: the axes of the parameters.
        widths: the sizes of all widths, dead units included.
        removable: the widths whose units can be removed.
        lassos: width -> the penalty on its units, whose strength is adjusted.
        measure: see `model_size`.
        target: the size to reach.
        reached: the fraction of the run at which the target must be reached.
        weakest: whether only the weakest units are penalised.
        first: the size at the start.
        now: the size at the last update.
        done: whether the target is reached, or cannot be reached.
    """

    parameters: Mapping[str, Tensor]
    table: AxisTable
    widths: Mapping[str, int]
    removable: tuple[str, ...]
    lassos: Mapping[str, UnitLasso]
    measure: str
    target: int
    reached: float
    weakest: bool = False
    first: int = field(init=False)
    now: int = field(init=False)
    done: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.first = self.now = self._size(self._dead())
        self.spare_strongest()

    def spare_strongest(self) -> None:
        """Penalise all units of each width but the one with the largest norm: a width without any passes nothing on.

        With `weakest`, nothing changes: the units to penalise are chosen at each update.
        """
        if self.weakest:
            return
        dead = self._dead()
        for width, lasso in self.lassos.items():
            norms = lasso.norms().detach().masked_fill(dead[width], -1.0)
            lasso.penalised = torch.ones_like(dead[width])
            lasso.penalised[norms.argmax()] = False

    def update(self, progress: float, share: float, rate: float, *, last: bool) -> None:
        """Measure the model and adjust the strengths; at the last update, remove units if it is too large. In place.

        Args:
            progress: the finished fraction of the run.
            share: the fraction of the run from one update to the next.
            rate: the sum of the learning rates of the steps until the next update.
            last: whether the target must be reached now.
        """
        dead = self._dead()
        self.now = self._size(dead)
        if self.now > self.target and last:
            self._drop(dead)
            self.now = self._size(self._dead())
        self.done = last or self.now <= self.target
        self.spare_strongest()
        choose = self._choose_weakest if self.weakest else self._factor
        factor = 0.0 if self.done else choose(dead, progress, share, rate)
        for lasso in self.lassos.values():
            lasso.strength *= factor

    def _factor(self, dead: Mapping[str, Tensor], progress: float, share: float, rate: float) -> float:
        """Return the factor for the strengths."""
        error = (self.now - self._planned(progress)) / (self.first - self.target)
        factor = math.exp(max(-MAX_LOG_CHANGE, min(MAX_LOG_CHANGE, GAIN * error * share)))
        ranking = self._ranking(dead)
        dropped = self._units_to_drop(ranking, dead, self._planned(progress + share))
        remaining = [steps for steps, width, unit in ranking if unit not in dropped.get(width, ())]
        # some schedules end with a learning rate of 0
        if not rate or not remaining:
            return factor
        return min(factor, MAX_LOSS * remaining[int(WEAK * len(remaining))] / rate)

    def _choose_weakest(self, dead: Mapping[str, Tensor], progress: float, share: float, rate: float) -> float:
        """Penalise the units that are to die next; return the factor by which the strongest of them dies in time."""
        ranking = self._ranking(dead)
        chosen = self._units_to_drop(ranking, dead, self._planned(progress + AHEAD))
        first = all(lasso.penalised is None for lasso in self.lassos.values())
        for width, lasso in self.lassos.items():
            # a dead unit whose bias is not zero would come back
            lasso.penalised = dead[width].clone()
            lasso.penalised[list(chosen.get(width, ()))] = True
        steps = [steps for steps, width, unit in ranking if unit in chosen.get(width, ())]
        if not rate or not steps:
            return 1.0
        factor = max(steps) / (rate * max(1.0, AHEAD / share))
        # a strength that fell with the norms of these units would never let them die
        return factor if first else max(1.0, factor)

    def _planned(self, progress: float) -> float:
        """Return the planned size at a point of the run."""
        return self.target + (self.first - self.target) * max(1 - progress / self.reached, 0.0) ** 3

    def _ranking(self, dead: Mapping[str, Tensor]) -> list[tuple[float, str, int]]:
        """Rank the units that are not dead by the number of steps, at a learning rate of 1, until they would be.

        Returns:
            (steps, width, unit), ascending.
        """
        ranking: list[tuple[float, str, int]] = []
        for width, lasso in self.lassos.items():
            steps = (lasso.norms().detach() / lasso.shrinkage(1.0)).tolist()
            ranking += [(steps[unit], width, unit) for unit in (~dead[width]).nonzero().flatten().tolist()]
        return sorted(ranking)

    def _units_to_drop(
        self, ranking: list[tuple[float, str, int]], dead: Mapping[str, Tensor], size: float
    ) -> dict[str, set[int]]:
        """Return the weakest units to remove, by width, for a model no larger than a size, or as small as it goes."""
        saved = unit_sizes(self.measure, self.table, self.widths, self.removable, dead)
        order = [(width, unit) for _, width, unit in ranking if saved[width][unit]]
        try:
            dropped = drop_until(
                order, self.table, self.widths, measure=self.measure, target=math.ceil(size), dead=dead
            )
        except UnreachableError as error:
            # the order decides how far blocks that share units can shrink
            dropped = error.dropped
        return {width: set(units) for width, units in dropped.items()}

    def _drop(self, dead: Mapping[str, Tensor]) -> None:
        found = unit_axes(self.table)
        for width, units in self._units_to_drop(self._ranking(dead), dead, self.target).items():
            dropped = torch.zeros_like(dead[width])
            dropped[list(units)] = True
            clear_units(self.parameters, found[width], dropped)

    def _dead(self) -> dict[str, Tensor]:
        return dead_by_width(self.parameters, self.table, self.removable)

    def _size(self, dead: Mapping[str, Tensor]) -> int:
        return model_size(self.measure, self.table, self.widths, dead)
