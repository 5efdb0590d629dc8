"""Trains an experiment in a run folder, and resumes it."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from refrain.assembly.backend import choose_backends, describe_backends
from refrain.assembly.model import build_device
from refrain.config import AnyExperiment, Experiment
from refrain.config.schema import differences
from refrain.data.text.files import place_of
from refrain.data.units.table import same_tokens
from refrain.errors import CheckpointError, DataError, UserError
from refrain.nn.kernels.call import failures
from refrain.storage.run_folder import RunFolder
from refrain.training import (
    Fit,
    Interrupt,
    Metrics,
    PlainProgress,
    Position,
    Task,
    load_weights,
    restore,
    tensorboard_writer,
)
from refrain.training.own_methods import methods_by_name
from refrain.training.progress import Progress
from refrain.training.resume import capture, check_methods
from refrain.training.sparsifier import Sparsifier

from .fit_check import check_fit
from .intact import check_config, point_at_best
from .kinds import AnyCorpus, Kind, kind_of
from .loading import experiment_from, load_own_weights, load_start
from .manifest import changes, manifest
from .own_network import OwnNetwork, check_given, own_name


def train(
    experiment: AnyExperiment,
    out: str | Path,
    *,
    model: OwnNetwork | None = None,
    methods: Sequence[object] | Mapping[str, object] = (),
    start_from: str | Path | None = None,
    force: bool = False,
    recipe_text: str = "",
    command: str = "",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train a language model or a tagger in a new run folder.

    Args:
        experiment: the settings of the run, for example from a recipe.
        out: the run folder, which must be empty or missing.
        model: a network of your own that implements the protocol `refrain.models.Network`, or a function that maps the
            vocabulary to it, called after the seed is set. It is trained instead of a model built from the settings,
            whose `model` is then ignored. Afterwards it has the weights of the best checkpoint.
        methods: your own training methods, as objects with an attribute `name` or as a mapping from names to objects;
            each implements parts of `refrain.training.Method`.
        start_from: a run whose best weights are the initial weights, as for finetuning. Its vocabulary and its shapes
            must be the same.
        force: whether an existing run is replaced.
        recipe_text: the requested recipe as TOML, stored as `recipe.toml`.
        command: the command line, stored in the manifest.
        progress: the progress report; None prints lines of text on standard error.

    Returns:
        The summary, as in `summary.json`.

    Raises:
        DataError: when the corpus is missing, damaged or too small.
        CheckpointError: when the folder is not empty or cannot be written.
        UserError: when the loss is not finite, `sparsity.freeze` finds no zeros, a method fails, or a network of your
            own does not implement the protocol.
        Interrupted: when a signal has stopped the run; a checkpoint has been saved.
    """
    own = methods_by_name(methods)
    with progress or PlainProgress() as report:
        kind = kind_of(experiment, model)
        run = RunFolder(Path(out))
        run.check_available(force=force)
        corpus = kind.corpus(experiment, report.log)
        torch.manual_seed(experiment.training.seed)
        network = kind.model(experiment, corpus).to(build_device(experiment.training.device))
        backends = choose_backends(experiment.training, network, report.log)
        if start_from is not None:
            load_start(Path(start_from), network, corpus)
        task = kind.task(experiment, corpus, network, own)
        _check_freezing(experiment, task)
        # raises for a state that cannot be stored, before anything is written
        capture(task, Position(), None)
        run.create(force=force)
        with run.locked():
            run.write_json("config.json", kind.document(experiment, network))
            run.write_text("recipe.toml", recipe_text)
            run.write_json("manifest.json", manifest(experiment, corpus, network, command, backends))
            return _train(experiment, kind, corpus, task, run, Position(), None, report, backends)


def _check_freezing(experiment: AnyExperiment, task: Task) -> None:
    sparsifier = task.methods.get("sparsifier")
    if not isinstance(experiment, Experiment) or experiment.sparsity.freeze == "none":
        return
    if isinstance(sparsifier, Sparsifier) and not sparsifier.masks.kept:
        what = "nothing is zero" if experiment.sparsity.freeze == "elements" else "no unit is dead"
        raise UserError(f"sparsity.freeze: {what} at the start; start from a sparse run with --from RUN")


def resume(
    out: str | Path,
    *,
    model: OwnNetwork | None = None,
    methods: Sequence[object] | Mapping[str, object] = (),
    experiment: AnyExperiment | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Continue a run from its newest complete checkpoint. The result is the same, bit for bit, as without the stop.

    Args:
        out: the run folder.
        methods: the methods that the run was started with, in the same order; their states are restored.
        experiment: if given, must equal the settings of the run.
        model: for the run of a network of your own: the network, as in `train`.
        progress: the progress report; None prints lines of text on standard error.

    Returns:
        The summary, as in `summary.json`.

    Raises:
        DataError: when the corpus has changed.
        CheckpointError: when the folder is not a run, settings or methods differ, or a network of your own is missing,
            not needed or different.
        UserError: when the loss is not finite, or a method fails.
    """
    added = methods_by_name(methods)
    run = RunFolder(Path(out))
    if not run.path.is_dir():
        raise CheckpointError(f"{run.path}: no such run folder; leave out --resume to start a run")
    document = run.read_json("config.json")
    own = experiment_from(document, run.path)
    check_given(document, model, run.path)
    with progress or PlainProgress() as report, run.locked():
        same_settings(own, experiment, run.path)
        kind = kind_of(own, model)
        checkpoint, problems = run.newest()
        check_config(own, checkpoint, run.read_json("manifest.json"), run.path)
        corpus = kind.corpus(own, report.log)
        _same_text(corpus, run.read_json("manifest.json"), run.path)
        if not same_tokens(checkpoint.document("vocabulary"), corpus.vocabulary.document()):
            raise CheckpointError(f"{checkpoint.folder}: vocabulary.json differs from the vocabulary of {corpus.name}")
        if model is None:
            check_fit(own, corpus.vocabulary, checkpoint)
        network = kind.model(own, corpus).to(build_device(own.training.device))
        backends = choose_backends(own.training, network, report.log)
        task = kind.task(own, corpus, network, added)
        for problem in problems:
            report.log(f"skipped a damaged checkpoint: {problem}")
        check_methods(task, checkpoint.document("training"), run.path)
        if model is None:
            load_weights(network, checkpoint.tensors("model"))
        else:
            load_own_weights(network, checkpoint, own_name(document))
        try:
            position, state = restore(task, checkpoint.tensors("training"), checkpoint.document("training"))
        except CheckpointError as error:
            raise CheckpointError(f"{checkpoint.folder}: {error}") from error.__cause__
        run.tidy(checkpoint.folder)
        point_at_best(run, position, task, report)
        for difference in changes(run.read_json("manifest.json"), manifest(own, corpus, network, "", backends)):
            report.log(f"note: {difference}; the run continues, but perhaps not bit for bit")
        run.cut_metrics(position.metrics_bytes)
        stop = (
            "its end"
            if position.epoch == task.epochs or position.stopped
            else f"epoch {position.epoch + 1}, window {position.window}"
        )
        report.log(f"resuming {checkpoint.folder} at {stop}")
        return _train(own, kind, corpus, task, run, position, state, report, backends)


def _train(
    experiment: AnyExperiment,
    kind: Kind[Any, Any, Any],
    corpus: AnyCorpus,
    task: Task,
    run: RunFolder,
    position: Position,
    state: Any,
    report: Progress,
    backends: dict[str, str],
) -> dict[str, Any]:
    for line in [*kind.describe(experiment, corpus, task.model, run), describe_backends(backends)]:
        report.log(line)
    writer = (
        tensorboard_writer(run.path / "tensorboard", position.step + 1) if experiment.training.tensorboard else None
    )
    documents = {"config": kind.document(experiment, task.model), "vocabulary": corpus.vocabulary.document()}
    if task.methods.own:
        report.log(f"methods given: {', '.join(task.methods.own)}")
    with _closing(writer), Interrupt(report.log) as interrupt:
        metrics = Metrics(run, writer, corpus.vocabulary.bytes_per_token, task.methods.metrics)
        position = Fit(task, run, documents, metrics, report, interrupt)(position, state)
    report.log(f"measuring the best of {position.epoch} epoch(s) on validation and test")
    summary = kind.summarise(experiment, corpus, task.model, run, position) | {"backend": backends}
    if task.methods.own:
        summary["methods"] = list(task.methods.own)
    if failures():
        summary["failed_kernels"] = failures()
    run.write_json("summary.json", summary)
    run.write_text("README.md", kind.card(summary, experiment, run.read_json("manifest.json")))
    return summary


@contextlib.contextmanager
def _closing(writer: Any) -> Iterator[None]:
    try:
        yield
    finally:
        if writer is not None:
            writer.close()


def same_settings(own: AnyExperiment, given: AnyExperiment | None, path: Path) -> None:
    """Check that a run is continued with its own settings.

    Args:
        own: the settings of the run.
        given: the given settings; None for those of the run.
        path: the run folder, for the message.

    Raises:
        CheckpointError: when the settings differ.
    """
    if given is None or given == own:
        return
    if type(given) is not type(own):
        trained = kind_of(own).title
        other = kind_of(given).title
        raise CheckpointError(
            f"{path}: is the run of {trained}, but the recipe is for {other}; resume without a recipe"
        )
    differing = [f"{name}: {old!r} in the run, {new!r} now" for name, old, new in differences(own, given)]
    raise CheckpointError(
        f"{path}: the run has other settings ({'; '.join(differing)}); resume with refrain train --resume --out {path}"
    )


def _same_text(corpus: AnyCorpus, document: Any, path: Path) -> None:
    for name, split in corpus.splits.items():
        before = document["data"]["splits"].get(name, {}).get("sha256")
        if before is None:
            raise CheckpointError(
                f"{path}: was not trained itself, as refrain compress writes a run; start a new one from its weights "
                f"with refrain train RECIPE --from {path}"
            )
        if before != split.sha256:
            raise DataError(
                f"{place_of(split.source)}: the {name} text has changed since {path} was started "
                f"(sha256 {split.sha256[:20]}..., in manifest.json {str(before)[:20]}...); restore the old text or "
                "start a new run"
            )
