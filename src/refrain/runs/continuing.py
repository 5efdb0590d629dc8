"""What changes when a run is resumed: its length and its reports. A change is recorded before it takes effect."""

import time
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any, Literal

from refrain.assembly.task import build_schedule
from refrain.config import AnyExperiment, Experiment
from refrain.config.following import value_text
from refrain.config.schema import differences, settings_of
from refrain.data.text.files import place_of
from refrain.errors import CheckpointError, DataError
from refrain.optim import EarlyStop
from refrain.storage.checkpoint import Checkpoint
from refrain.storage.run_folder import RunFolder
from refrain.training import Position, Task
from refrain.training.planned_end import Plan
from refrain.training.resume import pack

from .config_document import experiment_from
from .documents import read_manifest
from .kinds import AnyCorpus

STARTED_FILES = ("config.json", "recipe.toml", "manifest.json")
STARTED_FOLDERS = ("checkpoints", "samples", "tensorboard")
"""What a run has written before its first checkpoint, the files in their order."""


def before_change(checkpoint: Checkpoint) -> AnyExperiment:
    """The settings with which a checkpoint was written."""
    return experiment_from(checkpoint.document("config"), checkpoint.folder)


def with_early_stop(training: dict[str, Any], task: Task) -> dict[str, Any]:
    """The document `training` of a checkpoint for a run that has only now been given a `stop_window`.

    Args:
        training: the document.
        task: the task, whose rule for stopping counts the validations from here on.
    """
    if "early_stop" not in task.methods or "early_stop" in training["stateful"]:
        return training
    fresh = pack(EarlyStop(1).state_dict(), {}, "early_stop")
    return {**training, "stateful": {**training["stateful"], "early_stop": fresh}}


def changed_words(own: AnyExperiment, given: AnyExperiment) -> list[str]:
    """Describe the changes of settings, a line for each.

    Args:
        own: the settings of the run.
        given: the settings with which it is resumed.
    """
    return [
        f"{name} is {value_text(new)} from here on (was {value_text(old)})"
        for name, old, new in differences(own, given)
    ]


def notes_on(
    before: AnyExperiment, after: AnyExperiment, position: Position, task: Task, plan: Plan | None
) -> list[str]:
    """Describe what a change of settings does to schedules that have begun already, a line for each.

    Args:
        before: the settings of the checkpoint.
        after: the settings with which the run is resumed.
        position: the position from which it continues.
        task: the task, built from `after`.
        plan: the planned end of the run so far.
    """
    changed = {name for name, _, _ in differences(before, after)}
    longer = before.training.epochs != after.training.epochs
    schedule = after.training.schedule.kind
    notes = []
    if (longer and schedule in ("linear", "cosine")) or any(name.startswith("training.schedule.") for name in changed):
        old = _rate(before, position, task, plan)
        new = _rate(after, position, task, position.plan)
        count = after.training.epochs
        length = f" over {count} epoch{'s' * (count > 1)}" if schedule in ("linear", "cosine") else ""
        notes.append(
            f"the learning rate follows the {schedule} schedule{length} from here on: it is {new:g}, and was {old:g}"
        )
    if longer and isinstance(after, Experiment):
        parts = [name for name in ("prune", "target") if getattr(after.sparsity, name) is not None]
        if parts:
            named = " and ".join(f"sparsity.{name}" for name in parts)
            notes.append(f"{named}: fractions of the run are those of the new length from here on; what is zero stays")
    if "training.stop_window" in changed and before.training.stop_window is None:
        notes.append("training.stop_window: validations are compared from here on")
    return notes


def _rate(experiment: AnyExperiment, position: Position, task: Task, plan: Plan | None) -> float:
    """The learning rate of a schedule that does not depend on validations, at a position."""
    epochs, schedule = experiment.training.epochs, build_schedule(experiment.training.schedule)
    if plan is not None:
        return experiment.training.learning_rate * plan.rate_factor(position.step, epochs, schedule)
    part = position.window / len(task.windows(position.epoch)) if position.window else 0.0
    progress = min((position.epoch + part) / epochs, 1.0)
    return experiment.training.learning_rate * schedule.factor(position.epoch, progress)


def record(
    run: RunFolder,
    own: AnyExperiment,
    given: AnyExperiment,
    document: dict[str, Any],
    position: Position,
    notes: Sequence[str],
    ending: Sequence[str] = (),
) -> None:
    """Write new settings into a run folder, with a record of the change. A crash in between leaves a run to resume.

    The record comes first, and `config.json`, which decides, last: a record of a change that has not taken effect is
    removed when the run is resumed. The summary of a finished run is removed before its settings change, since it would
    be taken for that of the longer run.

    Args:
        run: the run folder; the caller must hold its lock.
        own: the settings of the run.
        given: the settings with which it is resumed.
        document: the new content of `config.json`.
        position: the position from which it continues.
        notes: the result of `notes_on`.
        ending: the result of `begin_to_finish`, which is recorded without a change of settings as well.
    """
    found = read_manifest(run)
    before = found.get("resumed", [])
    entries = before[:-1] if before and not _took_effect(before[-1], own) else list(before)
    changed = list(differences(own, given))
    if changed or ending:
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "epoch": position.epoch,
            "window": position.window,
            "step": position.step,
            "settings": {name: {"before": old, "after": new} for name, old, new in changed},
            "notes": [*notes, *ending],
        }
        entries.append(entry)
    if entries != before:
        run.write_json("manifest.json", {**found, "resumed": entries})
    if changed:
        (run.path / "summary.json").unlink(missing_ok=True)
        run.write_json("config.json", document)


def _took_effect(entry: dict[str, Any], own: AnyExperiment) -> bool:
    """Whether the settings of a run are those after a recorded change."""
    known = settings_of(own)
    return all(known.get(name) == values["after"] for name, values in entry["settings"].items())


def same_text(corpus: AnyCorpus, document: Any, path: Path) -> None:
    """Check that the text is that with which a run was started.

    Args:
        corpus: the corpus.
        document: the manifest of the run.
        path: the run folder, for the message.

    Raises:
        CheckpointError: when the run was not trained itself.
        DataError: when the text has changed, or a text is missing or new.
    """
    started = document["data"]["splits"]
    for name in [name for name in started if name not in corpus.splits and started[name].get("sha256")]:
        raise DataError(f"{path}: was started with a {name} text, which is no longer here; restore it")
    for name, split in corpus.splits.items():
        # a run that `refrain compress` has written has its test text only
        if name not in started and "train" in started:
            raise DataError(
                f"{place_of(split.source)}: {path} was started without a {name} text; move it away, or start a new run"
            )
        recorded = started.get(name, {})
        before = recorded.get("sha256")
        if before is None:
            raise CheckpointError(
                f"{path / 'manifest.json'}: has no sha256 of the {name} text, as in a run that refrain compress has "
                f"written; start a new run from its weights with refrain train RECIPE --from {quote(str(path))}"
            )
        if before != split.sha256:
            raise DataError(
                f"{place_of(split.source)}: the {name} text has changed since {path} was started "
                f"(sha256 {split.sha256[:20]}..., in manifest.json {str(before)[:20]}...); restore the old text or "
                "start a new run"
            )
        # runs of earlier versions recorded none
        if recorded.get("layout", split.layout) != split.layout:
            raise DataError(
                f"{place_of(split.source)}: the {name} text has the same bytes as when {path} was started, but is "
                "divided into other files, each of which ends a line; restore the old files or start a new run"
            )


def run_state(path: Path) -> Literal["absent", "started", "run"]:
    """What is at the path of a run, for a job that continues a run if there is one.

    Args:
        path: the path.

    Returns:
        `absent`: nothing, or an empty folder. `started`: nothing but what a run writes before its first checkpoint.
        `run`: anything else, which is not replaced.
    """
    if not path.exists() and not path.is_symlink():
        return "absent"
    if not path.is_dir():
        return "run"
    names = {entry.name for entry in path.iterdir() if not entry.name.startswith(".tmp-")}
    if not names:
        return "started" if any(path.iterdir()) else "absent"
    return "started" if _is_started(path, names) else "run"


def _is_started(path: Path, names: set[str]) -> bool:
    """Whether the files and folders at a path are what a run writes before its first checkpoint."""
    files = [name in names for name in STARTED_FILES]
    folders = names & set(STARTED_FOLDERS)
    if files != sorted(files, reverse=True) or not names <= {*STARTED_FILES, *STARTED_FOLDERS, ".lock"}:
        return False
    if any((path / name).is_symlink() for name in names) or ("checkpoints" not in names and names != {".lock"}):
        return False
    inside = [entry.name for name in folders for entry in (path / name).iterdir()]
    return all(name.startswith((".tmp-", "events.out.tfevents")) for name in inside)


def is_finished(run: RunFolder, own: AnyExperiment, given: AnyExperiment | None) -> bool:
    """Whether a run is finished, and is not to be changed.

    Args:
        run: the run folder.
        own: the settings of the run.
        given: the settings with which it would be resumed; None for its own.
    """
    return (run.path / "summary.json").is_file() and (given is None or given == own)
