"""What makes weights zero during a run: penalties, pruning, masks, and the steering of penalties to a size."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from refrain.axes import AxisTable
from refrain.sparsity import (
    L1,
    LineLasso,
    Masks,
    UnitLasso,
    dead_by_width,
    prune_smallest,
    pruned_share,
    threshold,
    zero_share,
)

from .hooks import Window
from .size_controller import Controller

# steps between two looks at the whole model; a short run takes as many looks as it can use
EVERY, LOOKS = 50, 200


@dataclass
class Pruning:
    """A schedule of gradual magnitude pruning.

    Attributes:
        parameters: matrices by name; this share of each becomes zero.
        final: the share of zeros at the end.
        begin: where it begins, as a share of the run.
        end: where the final share is reached.
    """

    parameters: Mapping[str, Tensor]
    final: float
    begin: float
    end: float


class Sparsifier:
    """Acts on a run through `loss_term` (smooth penalties) or `after_step` (proximal steps), never while evaluating.

    Args:
        penalties: each with a `strength` of its own.
        zeros: `proximal`, or `threshold` for the penalty's gradient and a threshold after each step.
        parameters: all of the model's, by name; the threshold acts on them.
        table: their axes.
        removable: widths whose units can go; the dead ones are frozen when a target is reached.
        smallest: the threshold.
        masks: what stays zero.
        pruning: a schedule, or None.
        controller: steers the penalties on units, or None.
        steps: of the whole run.
    """

    def __init__(
        self,
        penalties: Sequence[L1 | UnitLasso | LineLasso],
        *,
        zeros: Literal["proximal", "threshold"],
        parameters: Mapping[str, Tensor],
        table: AxisTable,
        removable: Sequence[str],
        smallest: float,
        masks: Masks,
        pruning: Pruning | None,
        controller: Controller | None,
        steps: int,
    ) -> None:
        self.penalties, self.zeros, self.parameters, self.smallest = penalties, zeros, parameters, smallest
        self.table, self.removable = table, removable
        self.masks, self.pruning, self.controller = masks, pruning, controller
        self.steps, self.step = steps, 0
        self.every = max(1, min(EVERY, steps // LOOKS))
        # proximal steps take the place of the penalties in the loss
        self.loss_term = self.loss if zeros == "threshold" else None

    def settled(self) -> bool:
        """Whether the target and the final share of zeros are reached, where they were asked for."""
        pruned = self.pruning is None or self.step >= self._last(self.pruning.end)
        return pruned and (self.controller is None or self.controller.done)

    def loss(self, window: Window) -> Tensor:
        """The smooth penalties, a scalar with a gradient."""
        return torch.stack([penalty.loss() for penalty in self.penalties]).sum()

    def after_step(self, window: Window) -> None:
        """Proximal steps or threshold, then the steering, pruning and masks, in place."""
        self.step += 1
        rate = window.optimizer.param_groups[0]["lr"]
        if self.zeros == "threshold":
            threshold(list(self.parameters.values()), self.smallest)
        else:
            for penalty in self.penalties:
                if penalty.strength:
                    penalty.step(rate)
        if self.controller is not None and not self.controller.done and self._due(self.controller.reached):
            self._steer(self.controller, rate)
        if self.pruning is not None and self._due(self.pruning.end):
            self._prune(self.pruning)
        self.masks.apply()

    def _last(self, end: float) -> int:
        """The step at which something is finished that takes so large a share of the run."""
        return math.ceil(end * self.steps)

    def _due(self, end: float) -> bool:
        last = self._last(end)
        return self.step == last or (self.step < last and not self.step % self.every)

    def _steer(self, controller: Controller, rate: float) -> None:
        last = self.step == self._last(controller.reached)
        controller.look(self.step / self.steps, self.every / self.steps, rate * self.every, last=last)
        if controller.done:
            self.masks.freeze_units(self.table, self.removable)

    def _prune(self, pruning: Pruning) -> None:
        progress = 1.0 if self.step == self._last(pruning.end) else self.step / self.steps
        share = pruned_share(progress, final=pruning.final, begin=pruning.begin, end=pruning.end)
        prune_smallest(pruning.parameters, self.masks, share)

    def metrics(self) -> dict[str, Any]:
        """What belongs into a line of metrics.

        The share of zeros; with penalties on units also the first one's strength and the units that are left, by
        width; with a target the size that the controller saw last.
        """
        figures: dict[str, Any] = {"sparsity": zero_share(self.parameters)}
        lassos = [penalty for penalty in self.penalties if isinstance(penalty, UnitLasso)]
        if lassos:
            dead = dead_by_width(self.parameters, self.table, self.removable)
            figures["group_lasso"] = lassos[0].strength
            figures["units"] = {width: int((~which).sum()) for width, which in dead.items()}
        if self.controller is not None:
            figures["controlled_size"] = self.controller.now
        return figures

    def state_dict(self) -> dict[str, Any]:
        """Step, strengths, masks and the controller's memory."""
        controller = self.controller
        return {
            "step": self.step,
            "strengths": [penalty.strength for penalty in self.penalties],
            "masks": self.masks.state_dict(),
            "controller": None if controller is None else [controller.first, controller.now, controller.done],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave.

        Args:
            state: as from `state_dict`.

        Raises:
            ValueError: when it belongs to another run.
        """
        self.step = state["step"]
        for penalty, strength in zip(self.penalties, state["strengths"], strict=True):
            penalty.strength = strength
        self.masks.load_state_dict(state["masks"])
        if self.controller is not None:
            self.controller.first, self.controller.now, self.controller.done = state["controller"]
