"""Experiment -> run folder with a trained model in it."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from refrain.assembly.engine import build_engine, describe_engine
from refrain.assembly.model import build_device
from refrain.config import AnyExperiment, Experiment, TaggerExperiment
from refrain.data.text.files import place_of
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

from .kinds import AnyCorpus, kind_of
from .loading import config_document, experiment_from, load_start
from .manifest import changes, manifest


def train(
    experiment: AnyExperiment,
    out: str | Path,
    *,
    methods: Sequence[object] | Mapping[str, object] = (),
    start_from: str | Path | None = None,
    force: bool = False,
    recipe_text: str = "",
    command: str = "",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train a language model or a tagger in a new run folder.

    Args:
        experiment: every setting, for example from a recipe.
        out: the run folder; must not hold anything yet.
        methods: what else acts on the run, as objects with an attribute `name` or as objects by name; each has some
            parts of `refrain.training.Method`.
        start_from: a run whose best weights are the start, as for finetuning; same vocabulary, same shape.
        force: replace a run that stands there.
        recipe_text: what was asked for, kept as `recipe.toml`.
        command: the command that asked, kept in the manifest.
        progress: is told what happens; None prints plain lines on standard error.

    Returns:
        The summary, as in `summary.json`.

    Raises:
        DataError: when the corpus is missing, broken or too small.
        CheckpointError: when the folder is taken or cannot be written.
        UserError: when the loss is not finite, zeros are to be frozen and there are none, or a method fails.
        Interrupted: when a signal stopped the run; a checkpoint has been saved.
    """
    own = methods_by_name(methods)
    with progress or PlainProgress() as shown:
        kind = kind_of(experiment)
        corpus = kind.corpus(experiment, shown.say)
        torch.manual_seed(experiment.training.seed)
        model = kind.model(experiment, corpus.vocabulary).to(build_device(experiment.training.device))
        engine = build_engine(experiment.training, model, shown.say)
        if start_from is not None:
            load_start(Path(start_from), model, corpus)
        task = kind.task(experiment, corpus, model, own)
        _check_freezing(experiment, task)
        # a state that cannot be stored is found before anything is written
        capture(task, Position(), None)
        run = RunFolder(Path(out))
        run.create(force=force)
        with run.locked():
            run.write_json("config.json", config_document(experiment))
            run.write_text("recipe.toml", recipe_text)
            run.write_json("manifest.json", manifest(experiment, corpus, model, command, engine))
            return _train(experiment, corpus, task, run, Position(), None, shown, engine)


def _check_freezing(experiment: AnyExperiment, task: Task) -> None:
    sparsifier = task.methods.get("sparsifier")
    if not isinstance(experiment, Experiment) or experiment.sparsity.freeze == "none":
        return
    if isinstance(sparsifier, Sparsifier) and not sparsifier.masks.kept:
        what = "nothing is zero" if experiment.sparsity.freeze == "elements" else "no unit is dead"
        raise UserError(f"sparsity.freeze: {what} at the start; give --from RUN, a run in which something is")


def resume(
    out: str | Path,
    *,
    methods: Sequence[object] | Mapping[str, object] = (),
    experiment: AnyExperiment | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Continue a run where its newest whole checkpoint stands, bit for bit.

    Args:
        out: the run folder.
        methods: as the run was started with, in the same order; their states are given back to them.
        experiment: when given, must equal the run's own settings.
        progress: is told what happens; None prints plain lines on standard error.

    Returns:
        The summary, as in `summary.json`.

    Raises:
        DataError: when the corpus is not what it was.
        CheckpointError: when there is nothing to resume, or settings or methods differ.
        UserError: when the loss is not finite, or a method fails.
    """
    added = methods_by_name(methods)
    run = RunFolder(Path(out))
    if not run.path.is_dir():
        raise CheckpointError(f"{run.path}: nothing to resume here; leave out --resume to start a run")
    own = experiment_from(run.read_json("config.json"), run.path)
    with progress or PlainProgress() as shown, run.locked():
        same_settings(own, experiment, run.path)
        kind = kind_of(own)
        corpus = kind.corpus(own, shown.say)
        _same_text(corpus, run.read_json("manifest.json"), run.path)
        model = kind.model(own, corpus.vocabulary).to(build_device(own.training.device))
        engine = build_engine(own.training, model, shown.say)
        task = kind.task(own, corpus, model, added)
        checkpoint, problems = run.newest()
        for problem in problems:
            shown.say(f"passed over a damaged checkpoint: {problem}")
        check_methods(task, checkpoint.document("training"), run.path)
        if checkpoint.document("vocabulary") != corpus.vocabulary.document():
            raise CheckpointError(f"{checkpoint.folder}: vocabulary.json is not that of {corpus.name}")
        load_weights(model, checkpoint.tensors("model"))
        try:
            position, state = restore(task, checkpoint.tensors("training"), checkpoint.document("training"))
        except CheckpointError as error:
            raise CheckpointError(f"{checkpoint.folder}: {error}") from error.__cause__
        run.tidy(checkpoint.folder)
        if position.best is not None:
            run.point_best_at(position.best.step)
        for difference in changes(run.read_json("manifest.json"), manifest(own, corpus, model, "", engine)):
            shown.say(f"note: {difference}; the run goes on, but perhaps not bit for bit")
        run.cut_metrics(position.metrics_bytes)
        place = (
            "its end"
            if position.epoch == task.epochs or position.stopped
            else f"epoch {position.epoch + 1}, window {position.window}"
        )
        shown.say(f"resuming {checkpoint.folder} at {place}")
        return _train(own, corpus, task, run, position, state, shown, engine)


def _train(
    experiment: AnyExperiment,
    corpus: AnyCorpus,
    task: Task,
    run: RunFolder,
    position: Position,
    state: Any,
    shown: Progress,
    engine: dict[str, str],
) -> dict[str, Any]:
    kind = kind_of(experiment)
    for line in [*kind.describe(experiment, corpus, task.model, run), describe_engine(engine)]:
        shown.say(line)
    writer = (
        tensorboard_writer(run.path / "tensorboard", position.step + 1) if experiment.training.tensorboard else None
    )
    documents = {"config": config_document(experiment), "vocabulary": corpus.vocabulary.document()}
    if task.methods.own:
        shown.say(f"methods given: {', '.join(task.methods.own)}")
    with _closing(writer), Interrupt() as interrupt:
        metrics = Metrics(run, writer, corpus.vocabulary.bytes_per_token, task.methods.metrics)
        position = Fit(task, run, documents, metrics, shown, interrupt)(position, state)
    shown.say(f"measuring the best of {position.epoch} epoch(s) on validation and test")
    summary = kind.summarise(experiment, corpus, task.model, run, position) | {"engine": engine}
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
    """Refuse to continue a run by other settings.

    Args:
        own: of the run.
        given: what it is to be continued by; None for its own.
        path: of the run, for the message.

    Raises:
        CheckpointError: when they differ.
    """
    if given is None or given == own:
        return
    if type(given) is not type(own):
        what, other = (
            ("a tagger", "a language model") if isinstance(own, TaggerExperiment) else ("a language model", "a tagger")
        )
        raise CheckpointError(f"{path}: is the run of {what}, the recipe is of {other}; resume without a recipe")
    before, after = own.model_dump(mode="json"), given.model_dump(mode="json")
    differing = [f"{name}: {old!r} there, {new!r} now" for name, old, new in _differences(before, after)]
    raise CheckpointError(
        f"{path}: the run has other settings ({'; '.join(differing)}); resume with refrain train --resume --out {path}"
    )


def _differences(before: Any, after: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    for name in before:
        if isinstance(before[name], dict):
            yield from _differences(before[name], after[name], f"{prefix}{name}.")
        elif before[name] != after[name]:
            yield prefix + name, before[name], after[name]


def _same_text(corpus: AnyCorpus, document: Any, path: Path) -> None:
    for name, split in corpus.splits.items():
        before = document["data"]["splits"].get(name, {}).get("sha256")
        if before != split.sha256:
            raise DataError(
                f"{place_of(split.source)}: the {name} text has changed since {path} was started "
                f"(sha256 {split.sha256[:20]}..., then {str(before)[:20]}...); put the old text back or start a new run"
            )
