"""Non-monotonically triggered averaging (Merity et al., 2018, section 3, algorithm 1).

Training is plain SGD until validation has not improved for a while. From then on a running mean of the weights after
every step is kept: SGD continues from the last iterate, and the mean is evaluated and saved. The mean starts with the
first step after the trigger. torch's ASGD starts it one step later and applies each window's step size one window late;
this implementation does neither.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from pydantic import ConfigDict
from torch import Tensor, nn

from refrain.nn.precision import widened
from refrain.storage.documents import Document, Index, state_of

from .native import Averages
from .stalls import Verdict, loaded_figures, saved_figures, stalled


class AveragingState(Document):
    """The state of a `TriggeredAveraging`."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    started: bool
    steps: Index
    validations: list[float | None]
    means: list[Tensor]
    weights: list[Tensor]


class TriggeredAveraging:
    """Watches validation and keeps the mean of the weights once it is triggered.

    Args:
        parameters: the parameters to average: all that the optimiser updates.
        trigger_window: n; averaging starts when a validation is worse than the best of those more than n validations
            before it. 0 disables the trigger.
        started: average from the first step, as in a finetuning stage.

    Raises:
        ValueError: when the window is negative.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, trigger_window: int, started: bool = False) -> None:
        if trigger_window < 0:
            raise ValueError(f"trigger_window must be at least 0 (got {trigger_window})")
        # a tied weight may be given twice
        self._parameters = list(dict.fromkeys(parameters))
        self._trigger_window = trigger_window
        self._validations: list[float] = []
        self._started = started
        self._steps = 0
        self._means: list[Tensor] = []
        self._trained: list[Tensor] | None = None  # while the parameters are the mean

    @property
    def active(self) -> bool:
        """Whether a mean exists: averaging was triggered and at least one step has been taken since."""
        return self._steps > 0

    @property
    def started(self) -> bool:
        """Whether averaging was triggered."""
        return self._started

    @torch.no_grad()
    def after_step(self, window: object) -> None:
        """Add the weights after this step to the mean, if averaging was triggered.

        Args:
            window: the window that was trained on; not used.
        """
        averages = self.averages(self._parameters)
        if averages is not None:
            averages.add(self._parameters)

    def averages(self, parameters: Iterable[nn.Parameter]) -> Averages | None:
        """Count a step, and return the means to which the weights after it must be added, in place of `after_step`.

        So an update adds the weights in the same pass over memory; see `refrain.optim.scaled_step`.

        Args:
            parameters: the parameters that the step changes, all of them averaged.

        Returns:
            The means of these parameters, or None before averaging is triggered.
        """
        if not self._started:
            return None
        self._steps += 1
        if not self._means:
            # the share of the first weights is 1, so that these values do not count
            self._means = [widened(parameter.detach()).clone() for parameter in self._parameters]
        mean_of = {id(parameter): mean for parameter, mean in zip(self._parameters, self._means, strict=True)}
        return Averages([mean_of[id(parameter)] for parameter in dict.fromkeys(parameters)], 1 / self._steps)

    def validated(self, record: Mapping[str, Any]) -> Verdict | None:
        """Start averaging if validation has stalled.

        Args:
            record: `judged`, the figure of the validation, where less is better, and NaN or infinity is worse than any
                other; `epoch`, counted from 1, for the message, which may be missing; `settled`, False while units are
                being removed: the loss rises then, so the validation does not count as a stall.

        Returns:
            A verdict with a message if this validation triggers averaging, otherwise None.
        """
        if not record.get("settled", True):
            return None
        triggered = not self._started and stalled(self._validations, record["judged"], self._trigger_window)
        self._started |= triggered
        self._validations.append(record["judged"])
        if not triggered:
            return None
        start = f"epoch {record['epoch'] + 1}" if "epoch" in record else "here"
        return Verdict(message=f"validation has stalled: weights are averaged from {start} on")

    @contextlib.contextmanager
    def evaluation_weights(self, model: object) -> Iterator[None]:
        """Set the parameters to the mean inside the context, and restore the trained weights after it.

        Args:
            model: the model with the parameters; not used.
        """
        # inside such a context the parameters are the mean already
        if not self.active or self._trained is not None:
            yield
            return
        self._trained = trained = [parameter.detach().clone() for parameter in self._parameters]
        self._copy(self._means)
        try:
            yield
        finally:
            self._trained = None
            self._copy(trained)

    def state_dict(self) -> dict[str, Any]:
        """Return trigger, validations, mean and trained weights; a checkpoint's model holds the mean."""
        weights = self._trained or [parameter.detach() for parameter in self._parameters]
        return {
            "started": self._started,
            "steps": self._steps,
            "validations": saved_figures(self._validations),
            "means": self._means,
            "weights": weights if self.active else [],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state from `state_dict`, including the trained weights.

        Args:
            state: a state from `state_dict`.

        Raises:
            ValueError: when the shapes of the state and of the parameters differ.
        """
        saved = state_of(AveragingState, state)
        shapes = [parameter.shape for parameter in self._parameters]
        for tensors in (saved.means, saved.weights):
            if saved.steps and [tensor.shape for tensor in tensors] != shapes:
                raise ValueError("the averages in the checkpoint belong to other parameters")
        self._started = saved.started
        self._steps = saved.steps
        self._validations = loaded_figures(saved.validations)
        means = zip(saved.means, self._parameters, strict=True) if saved.steps else ()
        self._means = [widened(mean).clone().to(parameter.device) for mean, parameter in means]
        if saved.steps:
            self._copy(saved.weights)

    def _copy(self, values: list[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self._parameters, values, strict=True):
                parameter.copy_(value)
