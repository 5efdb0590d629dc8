"""The settings that may change when a run is resumed. With any other change, it would be another run."""

from typing import Any

from .loader import AnyExperiment
from .schema import differences

LENGTH = (
    "training.epochs",
    "training.max_minutes",
    "training.stop_window",
    "training.stop_accuracy",
    "training.schedule.hold_epochs",
    "training.schedule.step_epochs",
)
"""How long a run and the parts of its schedule are."""

REPORTS = (
    "training.log_windows",
    "training.checkpoint_minutes",
    "training.sample_windows",
    "training.sample_tokens",
    "training.tensorboard",
)
"""What is written while a run trains, which no weight depends on."""

PREPARATION = ("data.workers",)
"""How the text is prepared, which no token depends on."""

SPEED = ("training.threads",)
"""How fast a run computes. Sums may be rounded in another order."""

MAY_CHANGE = LENGTH + REPORTS + PREPARATION + SPEED


def refused(own: AnyExperiment, given: AnyExperiment) -> list[tuple[str, Any, Any]]:
    """The differences between the settings of a run and other settings that it cannot be resumed with.

    Args:
        own: the settings of the run.
        given: the other settings, of the same class.

    Returns:
        For each of them the name, the value in the run and the other value.
    """
    return [each for each in differences(own, given) if each[0] not in MAY_CHANGE]


def continues(before: AnyExperiment, after: AnyExperiment) -> bool:
    """Whether a run that has been stopped by one of its rules continues with other settings.

    Args:
        before: the settings with which it was stopped.
        after: the settings with which it is resumed.
    """
    changed = _changed(before, after)
    rules = {"training.stop_window", "training.stop_accuracy", "training.max_minutes"}
    return after.training.epochs > before.training.epochs or bool(changed & rules)


def changes_length(before: AnyExperiment, after: AnyExperiment) -> bool:
    """Whether the number of epochs or the limit of time differs, from which the end of a run is planned.

    Args:
        before: the settings of the run.
        after: the settings with which it is resumed.
    """
    return bool(_changed(before, after) & {"training.epochs", "training.max_minutes"})


def _changed(before: AnyExperiment, after: AnyExperiment) -> set[str]:
    return {name for name, _, _ in differences(before, after)}
