"""Non-monotonically triggered averaging (Merity et al., 2018, section 3, algorithm 1).

Plain SGD until validation has not improved for a while, then the running mean of the weights of every step: the last
iterate goes on moving, the mean is what is evaluated and kept. The mean starts with the first step after the trigger;
torch's ASGD starts it one step later and applies each window's step size one window late, neither of which is done
here.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .stalls import Verdict, stalled


class TriggeredAveraging:
    """Watches validation and keeps the mean of the weights once it is triggered.

    Args:
        parameters: what is averaged; every parameter that the optimiser moves.
        trigger_window: n; averaging starts when a validation is worse than the best of those more than n validations
            before it. 0 is no trigger.
        started: average from the first step, as in a finetuning stage.

    Raises:
        ValueError: when the window is negative.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, trigger_window: int, started: bool = False) -> None:
        if trigger_window < 0:
            raise ValueError(f"trigger_window must be at least 0 (got {trigger_window})")
        self._parameters = list(parameters)
        self._trigger_window = trigger_window
        self._validations: list[float] = []
        self._started = started
        self._steps = 0
        self._means: list[Tensor] = []

    @property
    def active(self) -> bool:
        """Whether there is a mean: the trigger was pulled and a step has been taken."""
        return self._steps > 0

    @property
    def started(self) -> bool:
        """Whether averaging was triggered."""
        return self._started

    @torch.no_grad()
    def after_step(self, window: object) -> None:
        """Take the weights of this step into the mean, once triggered.

        Args:
            window: the window that was trained; not looked at.
        """
        if not self._started:
            return
        self._steps += 1
        if not self._means:
            self._means = [parameter.detach().clone() for parameter in self._parameters]
            return
        torch._foreach_lerp_(self._means, [p.detach() for p in self._parameters], 1 / self._steps)

    def validated(self, record: Mapping[str, Any]) -> Verdict | None:
        """Look at a validation and say so when it pulls the trigger.

        Args:
            record: `judged`, the validation's figure, less being better; `epoch`, counted from 1; `settled`, False
                while a model shrinks: it gets worse then, which is no stall, and the validation does not count.
        """
        if not record.get("settled", True):
            return None
        pulled = not self._started and stalled(self._validations, record["judged"], self._trigger_window)
        self._started |= pulled
        self._validations.append(record["judged"])
        if not pulled:
            return None
        return Verdict(message=f"validation has stalled: weights are averaged from epoch {record['epoch'] + 1} on")

    @contextlib.contextmanager
    def evaluation_weights(self, model: object) -> Iterator[None]:
        """Inside, the parameters hold the mean; outside, the weights themselves are back.

        Args:
            model: whose parameters they are; not looked at.
        """
        if not self.active:
            yield
            return
        kept = [parameter.detach().clone() for parameter in self._parameters]
        self._copy(self._means)
        try:
            yield
        finally:
            self._copy(kept)

    def state_dict(self) -> dict[str, Any]:
        """Trigger, validations, mean and the weights themselves; a checkpoint's model is the mean."""
        weights = [parameter.detach() for parameter in self._parameters] if self.active else []
        return {
            "started": self._started,
            "steps": self._steps,
            "validations": self._validations,
            "means": self._means,
            "weights": weights,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave, the weights among it.

        Args:
            state: as from `state_dict`.

        Raises:
            ValueError: when it is of other parameters.
        """
        shapes = [tuple(parameter.shape) for parameter in self._parameters]
        if state["steps"] and [tuple(mean.shape) for mean in state["means"]] != shapes:
            raise ValueError("the averages in the checkpoint are of other parameters")
        self._started, self._steps = bool(state["started"]), int(state["steps"])
        self._validations = [float(value) for value in state["validations"]]
        self._means = [mean.clone().to(p.device) for mean, p in zip(state["means"], self._parameters, strict=False)]
        if state["weights"]:
            self._copy(state["weights"])

    def _copy(self, values: list[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self._parameters, values, strict=True):
                parameter.copy_(value)
