"""Resumes a run, with its own settings or with a greater length."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

from refrain.arguments import path_of
from refrain.assembly.fixed_vocabulary import with_own_vocabulary
from refrain.config import AnyExperiment
from refrain.config.resumable import changes_length, continues
from refrain.data.locating import check_still_there
from refrain.errors import CheckpointError
from refrain.parallel import Ranks, joined
from refrain.storage.checkpoint import Checkpoint
from refrain.storage.run_folder import RunFolder
from refrain.training import Position, Task, load_weights, restore
from refrain.training.own_methods import methods_by_name
from refrain.training.progress import Progress
from refrain.training.resume import check_methods, read_training

from .building import load_own_weights
from .checks import check_trained
from .config_document import experiment_from
from .continuing import (
    before_change,
    changed_words,
    is_finished,
    notes_on,
    record,
    same_text,
    with_early_stop,
)
from .documents import read_manifest, read_summary
from .finishing import begin_to_finish
from .fit_check import check_corpus
from .intact import check_config, point_at_best
from .kinds import Kind, kind_of
from .manifest import changes, manifest
from .own_names import check_given, own_name
from .own_network import OwnNetwork
from .preparing import build, read_corpus
from .resumed_settings import check_length, with_changes
from .targets import with_recorded_target
from .threads import threads_for
from .to_the_end import train_to_the_end
from .together import (
    check_columns,
    check_gpus,
    check_same,
    check_same_checkpoint,
    check_shared,
    first_then_others,
    report_of,
    share_network,
)
from .torch_modes import usual_modes


def resume(
    out: str | Path,
    *,
    model: OwnNetwork | None = None,
    methods: Sequence[object] | Mapping[str, object] = (),
    experiment: AnyExperiment | None = None,
    settings: str | Sequence[str | Mapping[str, Any]] = (),
    finish: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Continue a run from its newest complete checkpoint. The result is the same, bit for bit, as without the stop.

    A run can be lengthened, also when it is finished. Then it continues with its optimiser, its averages and its
    schedule; see `refrain.config.resumable` for the settings that may change.

    Args:
        out: the run folder.
        methods: the methods that the run was started with, in the same order; their states are restored.
        experiment: if given, must equal the settings of the run, except for those that may change.
        settings: changes of settings, such as `["training.epochs=16"]`, or a single one.
        finish: whether an interrupted run is brought to an early end: the learning rate falls linearly to zero over a
            fifth of the steps so far, or an epoch or what is left of the run where that is less. Then it is measured.
        model: for the run of a network of your own: the network, as in `train`.
        progress: the progress report; None prints lines of text on standard error.

    Returns:
        The summary, as in `summary.json`.

    Raises:
        DataError: when the corpus has changed.
        CheckpointError: when the folder is not a run, settings or methods differ, or a network of your own is missing,
            not needed or different.
        UserError: when a setting is wrong, the loss is not finite, a method fails, or a run that is to be finished has
            not begun or is at its end.
    """
    added = methods_by_name(methods)
    run = _existing(out)
    document = run.read_json("config.json")
    own = experiment_from(document, run.path)
    check_given(document, model, run.path)
    with joined() as ranks, report_of(ranks, progress) as report, ExitStack() as stack:
        stack.enter_context(run.locked() if ranks.first else nullcontext())
        experiment = with_recorded_target(experiment, own, read_manifest(run))
        given = with_changes(own, experiment, settings, run.path)
        kind = kind_of(given, model)
        check_columns(ranks, given)
        check_gpus(ranks, given)
        check_shared(ranks, run)
        checkpoint, problems = run.newest()
        check_same_checkpoint(ranks, checkpoint)
        check_config(own, checkpoint, read_manifest(run), run.path)
        for problem in problems:
            report.log(f"skipped a damaged checkpoint: {problem}")
        stack.enter_context(usual_modes())
        stack.enter_context(threads_for(given, report.log, ranks=ranks.size, before=read_manifest(run)))
        corpus, network, backends = _built(kind, given, run, checkpoint, model, ranks, report)
        task = kind.task(given, corpus, network, added)
        task.ranks = ranks
        position, state = _restored(run, task, checkpoint, given, own_name(document))
        before = before_change(checkpoint)
        plan = position.plan
        _go_on(position, before, given)
        ending = begin_to_finish(task, position, given, run.path) if finish else []
        notes = notes_on(before, given, position, task, plan)
        # every rank has read the checkpoint before rank 0 changes the folder
        ranks.wait()
        if ranks.first:
            record(run, own, given, kind.document(given, network), position, notes, ending)
            here = manifest(given, corpus, network, "", backends, ranks.size)
            _made_ready(run, checkpoint, position, task, here, report)
        if not ranks.from_first(position.best is not None):
            position.best = None
        _log_resumed(checkpoint, task, position, [*changed_words(own, given), *notes, *ending], report)
        return train_to_the_end(given, kind, corpus, task, run, position, state, report, backends)


def _go_on(position: Position, before: AnyExperiment, given: AnyExperiment) -> None:
    """Take back that the run was stopped, and its planned end, where other settings let it go on. In place."""
    goes_on = continues(before, given)
    # a run that was interrupted on its way to a planned end goes on to it, unless its length changes
    if (goes_on and position.stopped) or (changes_length(before, given) and (goes_on or not position.stopped)):
        position.plans.clear()
    position.stopped &= not goes_on


def _existing(out: str | Path) -> RunFolder:
    run = RunFolder(path_of(out, "out", "a run folder"))
    if not run.path.is_dir():
        raise CheckpointError(f"{run.path}: no such run folder; leave out --resume to start a run")
    check_trained(run)
    return run


def _built(
    kind: Kind[Any, Any, Any],
    given: AnyExperiment,
    run: RunFolder,
    checkpoint: Checkpoint,
    own: OwnNetwork | None,
    ranks: Ranks,
    report: Progress,
) -> tuple[Any, Any, dict[str, str]]:
    """Read the corpus, check that it is that of the run, and build the network and its backends."""
    known = with_own_vocabulary(given, checkpoint.folder)
    check_still_there(given.data.corpus, run.path)
    corpus = first_then_others(ranks, lambda: read_corpus(kind, known, report))
    check_same(ranks, given, corpus)
    before = read_manifest(run)
    same_text(corpus, before, run.path)
    check_corpus(given, corpus, checkpoint, own)
    network, choice = build(kind, given, corpus, report, ranks, before)
    share_network(ranks, network)
    return corpus, network, choice.backends


def _restored(
    run: RunFolder, task: Task, checkpoint: Checkpoint, given: AnyExperiment, own: str | None
) -> tuple[Position, Any]:
    """Restore weights and state from a checkpoint, and return the position and the carried state of the run."""
    training = with_early_stop(read_training(checkpoint), task)
    check_methods(task, training, run.path)
    if own is None:
        load_weights(task.model, checkpoint.tensors("model"))
    else:
        load_own_weights(task.model, checkpoint, own)
    check_length(given, training["position"], run.path)
    try:
        return restore(task, checkpoint.tensors("training"), training)
    except CheckpointError as error:
        raise CheckpointError(f"{checkpoint.folder}: {error}") from error.__cause__


def _made_ready(
    run: RunFolder, checkpoint: Checkpoint, position: Position, task: Task, here: dict[str, Any], report: Progress
) -> None:
    """Bring the run folder to the state that it had at the checkpoint, and log what differs on this machine."""
    run.tidy(checkpoint.folder)
    point_at_best(run, position, task, report)
    for difference in changes(read_manifest(run), here):
        report.log(f"note: {difference}; the run continues, but perhaps not bit for bit")
    run.cut_metrics(position.metrics_bytes)


def _log_resumed(
    checkpoint: Checkpoint, task: Task, position: Position, lines: Sequence[str], report: Progress
) -> None:
    for line in lines:
        report.log(line)
    if position.epoch == task.epochs or position.stopped:
        stop = "its end: nothing is trained, and the model is measured"
    else:
        stop = f"epoch {position.epoch + 1}, window {position.window}"
    report.log(f"resuming {checkpoint.folder} at {stop}")


def resume_unfinished(
    out: str | Path,
    *,
    model: OwnNetwork | None = None,
    methods: Sequence[object] | Mapping[str, object] = (),
    experiment: AnyExperiment | None = None,
    settings: str | Sequence[str | Mapping[str, Any]] = (),
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Continue a run as `resume` does, or return the summary of a finished one at once.

    Args:
        out: the run folder.
        model: see `resume`.
        methods: see `resume`.
        experiment: see `resume`.
        settings: see `resume`.
        progress: see `resume`.

    Returns:
        The summary, as in `summary.json`.
    """
    run = RunFolder(path_of(out, "out", "a run folder"))
    own = experiment_from(run.read_json("config.json"), run.path)
    experiment = with_recorded_target(experiment, own, read_manifest(run))
    given = with_changes(own, experiment, settings, run.path)
    if is_finished(run, own, given):
        with joined() as ranks, report_of(ranks, progress) as report:
            report.log(f"{run.path}: is finished; nothing is trained")
        return read_summary(run)
    return resume(out, model=model, methods=methods, experiment=given, progress=progress)
