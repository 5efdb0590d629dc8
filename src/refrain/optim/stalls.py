"""The rule for when validation has stalled, and early stopping by it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from refrain.storage.documents import Document, state_of


class Verdict(NamedTuple):
    """The conclusion of a method from a validation.

    Attributes:
        stop: whether training stops after this validation.
        message: a line that is logged, or None.
    """

    stop: bool = False
    message: str | None = None


def figure(judged: float) -> float:
    """Return the figure by which a validation is compared: infinity, worse than any other, if it is not finite.

    Args:
        judged: the figure of the validation, where less is better.
    """
    return judged if math.isfinite(judged) else math.inf


def stalled(earlier: Sequence[float], judged: float, window: int) -> bool:
    """Return whether a validation is worse than the best of those more than `window` validations before it.

    Args:
        earlier: the figures of the earlier validations, where less is better; see `figure`.
        judged: the figure of this validation.
        window: the number of most recent earlier validations to ignore; with 0, the result is always False.
    """
    far = earlier[:-window] if window else []
    return bool(far) and figure(judged) > min(map(figure, far))


def saved_figures(validations: Sequence[float]) -> list[float | None]:
    """Return figures of validations as plain data, which has no infinite numbers: None for those."""
    return [judged if math.isfinite(judged) else None for judged in validations]


def loaded_figures(saved: Sequence[float | None]) -> list[float]:
    """Return figures of validations from `saved_figures`.

    Args:
        saved: the figures, None for one that was not finite.
    """
    return [math.inf if judged is None else judged for judged in saved]


class EarlyStopState(Document):
    """The state of an `EarlyStop`."""

    validations: list[float | None]


class EarlyStop:
    """Stops a run when validation has stalled, by the rule that also triggers averaging.

    Args:
        window: the number of most recent validations to ignore, at least 1; see `stalled`.
        min_epochs: the epochs that are trained in any case.

    Raises:
        ValueError: when the window is less than 1, with which no validation would be a stall.
    """

    def __init__(self, window: int, *, min_epochs: int = 0) -> None:
        if window < 1:
            raise ValueError(f"window must be at least 1 (got {window}); leave out EarlyStop to run all epochs")
        self._window = window
        self._min_epochs = min_epochs
        self._validations: list[float] = []

    def validated(self, record: Mapping[str, Any]) -> Verdict | None:
        """Decide whether the run stops.

        Args:
            record: `judged`, the figure of the validation, where less is better, and NaN or infinity is worse than any
                other; `epoch`, from 1, which only `min_epochs` needs; `settled`, False while units are being removed:
                the loss rises then, so the validation does not count as a stall.

        Returns:
            The verdict, or None if the validation does not count.
        """
        if not record.get("settled", True):
            return None
        stop = stalled(self._validations, record["judged"], self._window)
        if self._min_epochs:
            stop = stop and record["epoch"] >= self._min_epochs
        self._validations.append(record["judged"])
        rule = f"the validation is worse than the best of more than {self._window} validations ago (stop_window)"
        return Verdict(stop, f"training stops: {rule}" if stop else None)

    def state_dict(self) -> dict[str, Any]:
        """Return the figures of the validations so far."""
        return {"validations": saved_figures(self._validations)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state from `state_dict`.

        Args:
            state: a state from `state_dict`.
        """
        self._validations = loaded_figures(state_of(EarlyStopState, state).validations)
