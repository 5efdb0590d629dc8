"""Sparsity during a run: penalties, pruning, masks, and the control of penalties to reach a target size."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from refrain.axes import AxisTable
from refrain.sparsity import (
    L1,
    LineLasso,
    Masks,
    UnitLasso,
    dead_by_width,
    parameter_count,
    prune_smallest,
    pruned_share,
    take_steps,
    threshold,
    zero_share,
)
from refrain.storage.documents import Amount, Document, Index, state_of

from .hooks import Window
from .size_controller import Controller

# the number of steps between two inspections of the whole model; a short run is inspected 200 times in total
EVERY, INSPECTIONS = 50, 200


@dataclass
class Pruning:
    """A schedule of gradual magnitude pruning.

    Attributes:
        parameters: the matrices to prune, by name.
        final: the fraction of each matrix that is zero at the end.
        begin: the fraction of the run at which pruning begins.
        end: the fraction of the run at which the final fraction of zeros is reached.
    """

    parameters: Mapping[str, Tensor]
    final: float
    begin: float
    end: float


class SparsifierState(Document):
    """The state of a `Sparsifier`; version 0.1 wrote no `pruned`."""

    step: Index
    pruned: bool | None = None
    strengths: list[Amount]
    masks: dict[str, Any]
    penalised: dict[str, Any] = Field(default_factory=dict)
    controller: Annotated[tuple[Index, Index, bool], Field(strict=False)] | None


class Sparsifier:
    """A method that makes weights zero, by `loss_term` (smooth penalties) or `after_step` (proximal steps).

    Args:
        penalties: the penalties, each with its own `strength`.
        zeros: `proximal` for proximal steps, or `threshold` for the gradient of the penalties and a threshold after
            each step.
        parameters: all parameters of the model by name; the threshold applies to all of them.
        table: the axes of the parameters.
        removable: the widths whose units can be removed; dead units are frozen when a target is reached.
        smallest: the threshold.
        masks: the masks of entries that stay zero.
        pruning: the schedule of pruning, or None.
        controller: the controller of the strengths of penalties on units, or None.
        steps: the number of steps of the whole run.
        native: take proximal steps by C++ kernels, for the matrices that they take.
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
        native: bool = False,
    ) -> None:
        self.penalties = penalties
        self.zeros = zeros
        self.parameters = parameters
        self.smallest = smallest
        self.table = table
        self.removable = removable
        self.masks = masks
        self.pruning = pruning
        self.controller = controller
        self.steps = steps
        self.native = native
        self.step = 0
        # a finished pruning stays finished when the run is lengthened, although its share of the run is smaller then
        self.pruned = pruning is None
        self.every = max(1, min(EVERY, steps // INSPECTIONS))
        # proximal steps replace the penalties in the loss
        self.loss_term = self.loss if zeros == "threshold" else None

    def settled(self) -> bool:
        """Return whether the target size and the final fraction of zeros are reached, as far as they were requested."""
        return self.pruned and (self.controller is None or self.controller.done)

    def loss(self, window: Window) -> Tensor:
        """Return the sum of the smooth penalties, a scalar with a gradient."""
        return torch.stack([penalty.loss() for penalty in self.penalties]).sum()

    def after_step(self, window: Window) -> None:
        """Apply proximal steps or the threshold, then controller, pruning and masks, in place."""
        self.step += 1
        rate = window.optimizer.param_groups[0]["lr"]
        if self.zeros == "threshold":
            threshold(list(self.parameters.values()), self.smallest)
        else:
            take_steps(self.penalties, rate, native=self.native)
        if self.controller is not None and not self.controller.done and self._due(self.controller.reached):
            self._control(self.controller, rate)
        if self.pruning is not None and not self.pruned and self._due(self.pruning.end):
            self._prune(self.pruning)
        self.masks.apply()

    def _last(self, end: float) -> int:
        """Return the step at which a fraction of the run is finished."""
        return math.ceil(end * self.steps)

    def _due(self, end: float) -> bool:
        return self.step >= self._last(end) or not self.step % self.every

    def _control(self, controller: Controller, rate: float) -> None:
        last = self.step >= self._last(controller.reached)
        controller.update(self.step / self.steps, self.every / self.steps, rate * self.every, last=last)
        if controller.done:
            self.masks.freeze_units(self.table, self.removable)

    def _prune(self, pruning: Pruning) -> None:
        last = self.step >= self._last(pruning.end)
        progress = 1.0 if last else self.step / self.steps
        share = pruned_share(progress, final=pruning.final, begin=pruning.begin, end=pruning.end)
        prune_smallest(pruning.parameters, self.masks, share)
        self.pruned = last

    def metrics(self) -> dict[str, Any]:
        """Return figures for a line of metrics.

        These are the fraction of zeros; with penalties on units, the strength of the first one, the numbers of dead
        units and of others, by width, and the number of parameters after compaction; and with a target, the size at
        the controller's last update.
        """
        figures: dict[str, Any] = {"sparsity": zero_share(self.parameters)}
        lassos = [penalty for penalty in self.penalties if isinstance(penalty, UnitLasso)]
        if lassos:
            dead = dead_by_width(self.parameters, self.table, self.removable)
            figures["group_lasso"] = lassos[0].strength
            figures["units"] = {width: int((~which).sum()) for width, which in dead.items()}
            figures["dead_units"] = {width: int(which.sum()) for width, which in dead.items()}
            figures["compact_parameters"] = parameter_count(self.table, self._widths(dead), dead)
        if self.controller is not None:
            figures["controlled_size"] = self.controller.now
        return figures

    def _widths(self, dead: Mapping[str, Tensor]) -> dict[str, int]:
        """Return the size of each width of the model."""
        widths = {width: len(which) for width, which in dead.items()}
        for name, axes in self.table.items():
            for axis, length in zip(axes, self.parameters[name].shape, strict=True):
                if axis.segment is None:
                    widths[axis.width] = length // axis.copies
        return widths

    def state_dict(self) -> dict[str, Any]:
        """Return the step, the strengths, the masks and the state of the controller."""
        controller = self.controller
        return {
            "step": self.step,
            "pruned": self.pruned,
            "strengths": [penalty.strength for penalty in self.penalties],
            "masks": self.masks.state_dict(),
            "penalised": {
                width: lasso.penalised
                for width, lasso in (() if controller is None else controller.lassos.items())
                if lasso.penalised is not None
            },
            "controller": None if controller is None else [controller.first, controller.now, controller.done],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state from `state_dict`.

        Args:
            state: a state from `state_dict`.

        Raises:
            ValueError: when the state belongs to another run.
        """
        saved = state_of(SparsifierState, state)
        self.step = saved.step
        passed = self.pruning is None or saved.step >= self._last(self.pruning.end)
        self.pruned = passed if saved.pruned is None else saved.pruned
        for penalty, strength in zip(self.penalties, saved.strengths, strict=True):
            penalty.strength = strength
        self.masks.load_state_dict(saved.masks)
        if (self.controller is None) != (saved.controller is None):
            raise ValueError("controller: belongs to a run with another sparsity.target")
        if self.controller is not None and saved.controller is not None:
            self.controller.first, self.controller.now, self.controller.done = saved.controller
            self._restore_penalised(self.controller, saved.penalised)
            if not saved.penalised:
                # of a run of an earlier version
                self.controller.spare_strongest()

    def _restore_penalised(self, controller: Controller, saved: Mapping[str, Any]) -> None:
        for width, penalised in saved.items():
            lasso = controller.lassos.get(width)
            norms = None if lasso is None else lasso.norms()
            if lasso is None or norms is None or not isinstance(penalised, Tensor) or penalised.shape != norms.shape:
                raise ValueError(f"penalised: {width} does not fit the model")
            lasso.penalised = penalised.to(device=norms.device, dtype=torch.bool)
