"""The settings with which a run is resumed, and which of them may differ from those with which it was started."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from refrain.config import AnyExperiment
from refrain.config.following import value_text
from refrain.config.loader import amended
from refrain.config.resumable import MAY_CHANGE, refused
from refrain.config.schema import settings_of
from refrain.errors import CheckpointError, UserError, shown

from .kinds import kind_of


def check_settings(own: AnyExperiment, given: AnyExperiment | None, path: Path) -> AnyExperiment:
    """Check that a run is resumed with its own settings, except for those that may change.

    Args:
        own: the settings of the run.
        given: the given settings; None for those of the run.
        path: the run folder, for the message.

    Returns:
        The settings with which the run is resumed.

    Raises:
        CheckpointError: when another setting differs.
    """
    if given is None or given == own:
        return own
    if type(given) is not type(own):
        trained = kind_of(own).title
        other = kind_of(given).title
        raise CheckpointError(
            f"{path}: is the run of {trained}, but the recipe is for {other}; resume without a recipe"
        )
    found = [f"{name}: {value_text(old)} in the run, {value_text(new)} now" for name, old, new in refused(own, given)]
    if found:
        raise _other_settings(own, f"the run has other settings ({'; '.join(found)})", path)
    return given


def with_changes(
    own: AnyExperiment, given: AnyExperiment | None, changes: str | Mapping[str, Any] | Sequence[Any], path: Path
) -> AnyExperiment:
    """Apply changes of settings, and check that a run can be resumed with the result.

    Args:
        own: the settings of the run.
        given: the given settings; None for those of the run.
        changes: the changes, such as `["training.epochs=16"]`, or a single one.
        path: the run folder, for the message.

    Returns:
        The settings with which the run is resumed.

    Raises:
        CheckpointError: when a setting differs that may not change.
        UserError: when a change is wrong.
    """
    changes = [changes] if isinstance(changes, str | Mapping) else changes
    if not isinstance(changes, Sequence) or not all(isinstance(each, str | Mapping) for each in changes):
        raise UserError(f"settings: must be a list of settings, as in ['training.epochs=16'] (got {shown(changes)})")
    if not changes:
        return check_settings(own, given, path)
    try:
        return check_settings(own, amended(given or own, changes), path)
    except CheckpointError:
        raise
    except UserError:
        # a value that does not fit is no help where no value may be given
        names = [name for each in changes for name in ([each.partition("=")[0]] if isinstance(each, str) else each)]
        known = settings_of(own)
        fixed = [name for name in dict.fromkeys(names) if name in known and name not in MAY_CHANGE]
        if not fixed:
            raise
        raise _other_settings(own, f"{', '.join(fixed)} cannot be changed", path) from None


def check_length(experiment: AnyExperiment, position: Mapping[str, Any], path: Path) -> None:
    """Check that a run has not trained for longer than its settings allow.

    Args:
        experiment: the settings with which the run is resumed.
        position: the entry `position` of the checkpoint from which it continues.
        path: the run folder, for the message.

    Raises:
        CheckpointError: when the run is longer already.
    """
    begun = position["epoch"] + (position["window"] > 0)
    if begun > experiment.training.epochs:
        where = f"is in epoch {begun}" if position["window"] else f"has finished {begun} epoch{'s' * (begun > 1)}"
        raise CheckpointError(
            f"{path}: training.epochs: the run {where} and cannot be shortened to {experiment.training.epochs}; "
            f"give {begun} or more"
        )


def _other_settings(own: AnyExperiment, found: str, path: Path) -> CheckpointError:
    known = settings_of(own)
    names = ", ".join(name for name in MAY_CHANGE if name in known)
    return CheckpointError(
        f"{path}: {found}; only {names} may change when a run is resumed; with other settings, start a new run from "
        f"its weights: refrain train RECIPE --from {quote(str(path))}"
    )
