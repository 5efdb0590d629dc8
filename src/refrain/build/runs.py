"""Experiment -> run folder with a trained model in it."""

import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from refrain.config import Experiment
from refrain.data import Corpus
from refrain.data.text import place_of
from refrain.errors import CheckpointError, DataError, UserError
from refrain.evaluation import evaluate, protocol_windows
from refrain.evaluation.perplexity import Protocol
from refrain.models import LanguageModel
from refrain.nn.native.calls import failures
from refrain.training import (
    Fit,
    Interrupt,
    Metrics,
    PlainProgress,
    Position,
    RunFolder,
    Task,
    load_weights,
    restore,
    tensorboard_writer,
)
from refrain.training.progress import Progress

from .card import card
from .corpus import build_corpus
from .engine import build_engine, describe_engine
from .loading import config_document, experiment_from, load_start
from .manifest import changes, manifest, peak_memory_bytes
from .model import build_device, build_language_model
from .task import build_task


def train(
    experiment: Experiment,
    out: str | Path,
    *,
    start_from: str | Path | None = None,
    force: bool = False,
    recipe_text: str = "",
    command: str = "",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train a language model in a new run folder.

    Args:
        experiment: every setting, for example from a recipe.
        out: the run folder; must not hold anything yet.
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
        UserError: when the loss is not finite, or zeros are to be frozen and there are none.
        Interrupted: when a signal stopped the run; a checkpoint has been saved.
    """
    with progress or PlainProgress() as shown:
        corpus = build_corpus(experiment.data, shown.say)
        torch.manual_seed(experiment.training.seed)
        model = build_language_model(experiment, corpus.vocabulary).to(build_device(experiment.training.device))
        engine = build_engine(experiment.training, model)
        if start_from is not None:
            load_start(Path(start_from), model, corpus)
        task = build_task(experiment, corpus, model)
        if experiment.sparsity.freeze != "none" and task.sparsifier is not None and not task.sparsifier.masks.kept:
            what = "nothing is zero" if experiment.sparsity.freeze == "elements" else "no unit is dead"
            raise UserError(f"sparsity.freeze: {what} at the start; give --from RUN, a run in which something is")
        run = RunFolder(Path(out))
        run.create(force=force)
        with run.locked():
            run.write_json("config.json", config_document(experiment))
            run.write_text("recipe.toml", recipe_text)
            run.write_json("manifest.json", manifest(experiment, corpus, model, command, engine))
            return _train(experiment, corpus, task, run, Position(), None, shown, engine)


def resume(
    out: str | Path, *, experiment: Experiment | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Continue a run where its newest whole checkpoint stands, bit for bit.

    Args:
        out: the run folder.
        experiment: when given, must equal the run's own settings.
        progress: is told what happens; None prints plain lines on standard error.

    Returns:
        The summary, as in `summary.json`.

    Raises:
        DataError: when the corpus is not what it was.
        CheckpointError: when there is nothing to resume, or the settings differ.
    """
    run = RunFolder(Path(out))
    if not run.path.is_dir():
        raise CheckpointError(f"{run.path}: nothing to resume here; leave out --resume to start a run")
    own = experiment_from(run.read_json("config.json"), run.path)
    with progress or PlainProgress() as shown, run.locked():
        _same_settings(own, experiment, run.path)
        corpus = build_corpus(own.data, shown.say)
        _same_text(corpus, run.read_json("manifest.json"), run.path)
        model = build_language_model(own, corpus.vocabulary).to(build_device(own.training.device))
        engine = build_engine(own.training, model)
        task = build_task(own, corpus, model)
        checkpoint, problems = run.newest()
        for problem in problems:
            shown.say(f"passed over a damaged checkpoint: {problem}")
        if checkpoint.document("vocabulary") != corpus.vocabulary.document():
            raise CheckpointError(f"{checkpoint.folder}: vocabulary.json is not that of {corpus.name}")
        load_weights(model, checkpoint.tensors("model"))
        position, state = restore(task, checkpoint.tensors("training"), checkpoint.document("training"))
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
    experiment: Experiment,
    corpus: Corpus,
    task: Task,
    run: RunFolder,
    position: Position,
    state: Any,
    shown: Progress,
    engine: dict[str, str],
) -> dict[str, Any]:
    for line in [*describe(experiment, corpus, task.model, run), describe_engine(engine)]:
        shown.say(line)
    writer = (
        tensorboard_writer(run.path / "tensorboard", position.step + 1) if experiment.training.tensorboard else None
    )
    documents = {"config": config_document(experiment), "vocabulary": corpus.vocabulary.document()}
    with _closing(writer), Interrupt() as interrupt:
        metrics = Metrics(run, writer, corpus.vocabulary.unit, task.figures)
        position = Fit(task, run, documents, metrics, shown, interrupt)(position, state)
    shown.say(f"measuring the best of {position.epoch} epoch(s) on validation and test")
    summary = summarise(experiment, corpus, task.model, run, position) | {"engine": engine}
    if failures():
        summary["failed_kernels"] = failures()
    run.write_json("summary.json", summary)
    run.write_text("README.md", card(summary, experiment, run.read_json("manifest.json")))
    return summary


@contextlib.contextmanager
def _closing(writer: Any) -> Iterator[None]:
    try:
        yield
    finally:
        if writer is not None:
            writer.close()


def _same_settings(own: Experiment, given: Experiment | None, path: Path) -> None:
    if given is None or given == own:
        return
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


def _same_text(corpus: Corpus, document: Any, path: Path) -> None:
    for name, split in corpus.splits.items():
        before = document["data"]["splits"].get(name, {}).get("sha256")
        if before != split.sha256:
            raise DataError(
                f"{place_of(split.source)}: the {name} text has changed since {path} was started "
                f"(sha256 {split.sha256[:20]}..., then {str(before)[:20]}...); put the old text back or start a new run"
            )


def describe(experiment: Experiment, corpus: Corpus, model: LanguageModel, run: RunFolder) -> list[str]:
    """What is about to happen, in a few lines."""
    import refrain

    device = next(model.parameters()).device
    count = sum(parameter.numel() for parameter in model.parameters())
    splits = "  ".join(f"{name} {len(split.tokens):,}" for name, split in corpus.splits.items())
    unseen = ", ".join(f"{name} {split.unseen:,}" for name, split in corpus.splits.items() if split.unseen)
    sizes = "-".join(str(size) for size in experiment.model.hidden_sizes)
    return [
        f"refrain {refrain.__version__}  torch {torch.__version__}  {device}  {torch.get_num_threads()} threads",
        f"data   {corpus.name}: {splits} tokens, vocabulary {len(corpus.vocabulary):,}"
        + (f"; words read as <unk>: {unseen}" if unseen else ""),
        f"model  {experiment.model.cell} {experiment.model.embedding_size}-{sizes}, {count:,} parameters "
        f"({4 * count / 1e6:.1f} MB)",
        f"run    {run.path}",
    ]


def summarise(
    experiment: Experiment, corpus: Corpus, model: LanguageModel, run: RunFolder, position: Position
) -> dict[str, Any]:
    """The final figures, with the weights of the best checkpoint. Changes the model's weights to those."""
    best = position.best
    assert best is not None and math.isfinite(best.nats_per_token)
    load_weights(model, run.checkpoint(best.step).tensors("model"))
    unit = corpus.vocabulary.unit
    protocol = experiment.training.validation
    figures: dict[str, Any] = {}
    exact: dict[str, Any] = {}
    for split in ("valid", "test"):
        if split not in corpus.splits:
            figures[split] = exact[split] = None
            continue

        def measured(kind: Protocol, split: str = split) -> dict[str, Any]:
            tokens, steps = corpus.splits[split].tokens, experiment.training.window_steps
            windows = protocol_windows(
                tokens, kind, split=split, window_steps=steps, name=f"{corpus.name}, split {split!r}"
            )
            return {"protocol": kind, **evaluate(model, windows).document(unit)}

        exact[split] = measured("exact")
        # on test every protocol is exact, and a pass over many bytes takes minutes
        same = split == "test" or protocol == "exact"
        figures[split] = {**exact[split], "protocol": protocol} if same else measured(protocol)
    return {
        "run": str(run.path),
        "recipe": experiment.name,
        "corpus": corpus.name,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "epochs": position.epoch,
        "best_epoch": best.epoch + 1,
        "valid": figures["valid"],
        "test": figures["test"],
        "exact": exact,
        "train_seconds": round(position.seconds, 1),
        "peak_memory_bytes": peak_memory_bytes(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
