"""Checks of a run that is resumed: nobody has changed its settings, and its best checkpoint is whole."""

from pathlib import Path
from typing import Any

from refrain.config import AnyExperiment
from refrain.config.schema import differences
from refrain.errors import CheckpointError
from refrain.storage.checkpoint import Checkpoint
from refrain.storage.checkpoint_manifest import UnreadableError
from refrain.storage.run_folder import RunFolder
from refrain.training import Position, Task
from refrain.training.progress import Progress

from .config_document import experiment_from


def check_config(own: AnyExperiment, checkpoint: Checkpoint, manifest: Any, path: Path) -> None:
    """Check that `config.json` of a run, which has no hash, equals that of the newest checkpoint, which has one.

    Args:
        own: the settings in `config.json`.
        checkpoint: the newest checkpoint.
        manifest: the manifest of the run, whose entry `resumed` records the changes of settings.
        path: the run folder, for the message.

    Raises:
        CheckpointError: when a setting differs and no change of it is recorded.
    """
    before = experiment_from(checkpoint.document("config"), checkpoint.folder)
    if type(before) is not type(own):
        raise CheckpointError(_message(path, checkpoint, "it is for another task"))
    recorded = [entry["settings"] for entry in manifest.get("resumed", [])]
    for name, old, new in differences(before, own):
        if not any(name in settings and settings[name]["after"] == new for settings in recorded):
            raise CheckpointError(
                _message(path, checkpoint, f"{name} is {new!r}, and {old!r} in the newest checkpoint")
            )


def _message(path: Path, checkpoint: Checkpoint, cause: str) -> str:
    return f"{path / 'config.json'}: damaged or edited ({cause}); copy {checkpoint.folder / 'config.json'} over it"


def point_at_best(run: RunFolder, position: Position, task: Task, report: Progress) -> None:
    """Let `best` lead to the best checkpoint. A damaged one is forgotten if a later validation can take its place.

    Args:
        run: the run folder; the caller must hold its lock.
        position: the position from which the run continues; changed in place.
        task: the task that is trained.
        report: the progress report.

    Raises:
        CheckpointError: when the best checkpoint is damaged and the run has ended.
    """
    if position.best is None:
        return
    try:
        run.checkpoint(position.best.step)
    except UnreadableError:
        # not the fault of the checkpoint
        raise
    except CheckpointError as error:
        if position.epoch == task.epochs or position.stopped:
            raise
        report.log(f"note: {error}; that was the best checkpoint, and the best one from here on takes its place")
        position.best = None
        return
    run.point_best_at(position.best.step)
