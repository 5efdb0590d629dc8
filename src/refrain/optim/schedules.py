"""Learning-rate schedules: the factor on the full learning rate, as a function of the progress of the run.

`epoch` is the number of finished epochs; `progress` is the finished fraction of the whole run, in [0, 1].
"""

import math
from collections.abc import Callable
from typing import Any, Protocol

from refrain.storage.documents import Document, Index, state_of

from .stalls import figure


class Schedule(Protocol):
    """A factor on the learning rate that may depend on the validations so far."""

    def factor(self, epoch: int, progress: float) -> float:
        """Return the factor for the next window."""
        ...

    def validated(self, judged: float) -> None:
        """Update the schedule; called after the validation at the end of each epoch.

        It is not called while a method is not settled, such as before a target size is reached.

        Args:
            judged: the figure by which validations are compared, where less is better: nats per token, or for a tagger
                one minus its accuracy or F1.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a restart needs, as plain data."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state from `state_dict`."""
        ...


def constant(epoch: int, progress: float) -> float:
    """Return 1: the learning rate is constant."""
    return 1.0


def exponential(
    epoch: int, progress: float = 0.0, *, hold_epochs: int = 0, decay: float, step_epochs: int = 1
) -> float:
    """Return 1 for `hold_epochs` epochs, then decay exponentially (Zaremba et al., 2014, section 4.1).

    As a schedule: `Fixed(functools.partial(exponential, decay=0.5, hold_epochs=4))`.

    Args:
        epoch: the number of finished epochs.
        progress: the finished fraction of the run, which has no effect.
        hold_epochs: the number of epochs at the full rate.
        decay: the factor by which the rate is multiplied at each step of the schedule.
        step_epochs: the number of epochs between two steps of the schedule.

    Raises:
        ValueError: when `step_epochs` is less than 1.
    """
    if step_epochs < 1:
        raise ValueError(f"step_epochs must be at least 1 (got {step_epochs})")
    return float(decay ** math.ceil(max(epoch + 1 - hold_epochs, 0) / step_epochs))


def linear(epoch: int, progress: float) -> float:
    """Decrease linearly from 1 to 0 over the whole run."""
    return 1.0 - progress


def cosine(epoch: int, progress: float) -> float:
    """Decrease from 1 to 0 over the whole run along half a cosine (Loshchilov & Hutter, 2017, without restarts)."""
    return 0.5 * (1.0 + math.cos(math.pi * progress))


class Fixed:
    """A schedule that depends only on the progress of the run, not on validation.

    It is like `torch.optim.lr_scheduler.LambdaLR`: the learning rate is the full one times what the function returns.
    The function is called before every window instead of every epoch, and also receives the finished fraction of the
    run, so that `Fixed(cosine)` changes the rate within epochs. Nothing has to call a `step`.

    Args:
        function: maps the number of finished epochs and the finished fraction of the run, from 0 to 1, to the factor:
            `constant`, `linear`, `cosine`, `functools.partial(exponential, decay=0.5)`, or one of your own, such as
            `lambda epoch, progress: 0.95**epoch`.
    """

    def __init__(self, function: Callable[[int, float], float]) -> None:
        self._function = function

    def factor(self, epoch: int, progress: float) -> float:
        """Return the value of the function."""
        return float(self._function(epoch, progress))

    def validated(self, judged: float) -> None:
        """Do nothing: the schedule does not depend on validation."""

    def state_dict(self) -> dict[str, Any]:
        """Return an empty state: the factor follows from the progress of the run."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing: the state is empty."""


class PlateauState(Document):
    """The state of a `Plateau`."""

    best: float | None
    cuts: Index


class Plateau:
    """A schedule that multiplies the rate by `decay` after each validation that is not the best so far.

    Args:
        decay: the factor, in (0, 1).

    Raises:
        ValueError: when the factor is out of range.
    """

    def __init__(self, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"decay must be more than 0 and less than 1 (got {decay})")
        self._decay = decay
        self._best = math.inf
        self._cuts = 0

    def factor(self, epoch: int, progress: float) -> float:
        """Return `decay` to the power of the number of cuts so far."""
        return float(self._decay**self._cuts)

    def validated(self, judged: float) -> None:
        """Cut the rate unless this is the best validation so far.

        Args:
            judged: the figure of the validation, where less is better, and NaN or infinity is worse than any other.
        """
        if figure(judged) < self._best:
            self._best = judged
        else:
            self._cuts += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the best validation and the number of cuts."""
        return {"best": self._best if math.isfinite(self._best) else None, "cuts": self._cuts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state from `state_dict`."""
        saved = state_of(PlateauState, state)
        self._best = math.inf if saved.best is None else saved.best
        self._cuts = saved.cuts
