"""When validation has stalled, and what is concluded from a validation."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Verdict(NamedTuple):
    """What a method concludes from a validation.

    Attributes:
        stop: whether training ends here.
        message: a line that is reported to the user, or None.
    """

    stop: bool = False
    message: str | None = None


def stalled(earlier: Sequence[float], judged: float, window: int) -> bool:
    """Whether a validation is worse than the best of those more than `window` before it; never with a window of 0.

    Args:
        earlier: the validations before, less being better.
        judged: this validation.
        window: how many of the last ones do not count.
    """
    far = earlier[:-window] if window else []
    return bool(far) and judged > min(far)


class EarlyStop:
    """Stops a run that has stalled, by the rule that triggers averaging.

    Args:
        window: how many of the last validations do not count.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._validations: list[float] = []

    def validated(self, record: Mapping[str, Any]) -> Verdict | None:
        """Look at a validation and say whether the run stops.

        Args:
            record: `judged`, the validation's figure, less being better; `settled`, False while a model shrinks: it
                gets worse then, which is no stall, and the validation does not count.
        """
        if not record.get("settled", True):
            return None
        stop = stalled(self._validations, record["judged"], self._window)
        self._validations.append(record["judged"])
        return Verdict(stop=stop)

    def state_dict(self) -> dict[str, Any]:
        """The validations so far."""
        return {"validations": self._validations}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave.

        Args:
            state: as from `state_dict`.
        """
        self._validations = [float(value) for value in state["validations"]]
