"""Learning-rate schedules: the factor on the full rate, as a function of where the run stands.

`epoch` counts finished epochs from 0; `progress` is the finished share of the whole run, in [0, 1].
"""

import math
from typing import Any, Protocol


class Schedule(Protocol):
    """The factor on the learning rate, and what it learns from validation."""

    def factor(self, epoch: int, progress: float) -> float:
        """The factor for the next window."""
        ...

    def validated(self, nats_per_token: float) -> None:
        """Told after each validation."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What has to survive a restart, as plain data."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        ...


def constant(epoch: int, progress: float) -> float:
    """1 throughout."""
    return 1.0


def exponential(epoch: int, *, hold_epochs: int, decay: float, step_epochs: int = 1) -> float:
    """1 for `hold_epochs` epochs, then times `decay` (Zaremba et al., 2014, section 4.1).

    Args:
        epoch: finished epochs.
        hold_epochs: at the full rate.
        decay: the factor.
        step_epochs: from one factor to the next.
    """
    return float(decay ** math.ceil(max(epoch + 1 - hold_epochs, 0) / step_epochs))


def linear(epoch: int, progress: float) -> float:
    """From 1 to 0 over the whole run."""
    return 1.0 - progress


def cosine(epoch: int, progress: float) -> float:
    """From 1 to 0 over the whole run along half a cosine (Loshchilov & Hutter, 2017, without restarts)."""
    return 0.5 * (1.0 + math.cos(math.pi * progress))


class Fixed:
    """A schedule that is a function of the place in the run alone.

    Args:
        function: maps epoch and progress to the factor.
    """

    def __init__(self, function: Any) -> None:
        self._function = function

    def factor(self, epoch: int, progress: float) -> float:
        """The function's value."""
        return float(self._function(epoch, progress))

    def validated(self, nats_per_token: float) -> None:
        """Validation changes nothing here."""

    def state_dict(self) -> dict[str, Any]:
        """Empty: the place in the run says everything."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to take back."""


class Plateau:
    """Multiplies the rate by `decay` after each validation that is not better than the best so far.

    Args:
        decay: the factor, in (0, 1).
    """

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._best = math.inf
        self._cuts = 0

    def factor(self, epoch: int, progress: float) -> float:
        """`decay` to the number of cuts so far."""
        return float(self._decay**self._cuts)

    def validated(self, nats_per_token: float) -> None:
        """Cut the rate unless this is the best validation so far."""
        if nats_per_token < self._best:
            self._best = nats_per_token
        else:
            self._cuts += 1

    def state_dict(self) -> dict[str, Any]:
        """Best validation and number of cuts."""
        return {"best": self._best if math.isfinite(self._best) else None, "cuts": self._cuts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self._best = math.inf if state["best"] is None else float(state["best"])
        self._cuts = int(state["cuts"])
