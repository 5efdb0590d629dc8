"""Trains a run from a position to its end, and measures it."""

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

from refrain.assembly.backend import describe_backends
from refrain.config import AnyExperiment
from refrain.config.toml_text import toml_of
from refrain.data import TaggedCorpus
from refrain.data.sizes import bytes_of_tokens
from refrain.nn.kernels.call import failures
from refrain.storage.run_folder import RunFolder
from refrain.training import Fit, Interrupt, Metrics, Position, Task, tensorboard_writer
from refrain.training.metrics import write_settings
from refrain.training.progress import Progress, loss_text

from .documents import read_manifest
from .kinds import AnyCorpus, Kind
from .reports.writing import write_report


def train_to_the_end(
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
    """Train a run to its end, measure its best checkpoint, and write its summary and its card.

    Args:
        experiment: the settings of the run.
        kind: the kind of its model.
        corpus: the corpus.
        task: the training task, with the state at the position.
        run: the run folder; the caller must hold its lock.
        position: the position; changed in place.
        state: the carried recurrent state, or None between epochs.
        report: the progress report.
        backends: the backend of each part of the model.

    Returns:
        The summary, as in `summary.json`.
    """
    for line in [*kind.describe(experiment, corpus, task.model, run), describe_backends(backends)]:
        report.log(line)
    writer = (
        tensorboard_writer(run.path / "tensorboard", position.step + 1)
        if experiment.training.tensorboard and task.ranks.first
        else None
    )
    if writer is not None:
        write_settings(writer, toml_of(experiment), position.step)
    documents = {"config": kind.document(experiment, task.model), "vocabulary": corpus.vocabulary.document()}
    if task.methods.own:
        report.log(f"methods given: {', '.join(task.methods.own)}")
    bytes_per_token = None if isinstance(corpus, TaggedCorpus) else bytes_of_tokens(corpus, ("train", "valid"))
    shown = None if bytes_per_token is None else bytes_per_token["train"]
    report.begin(partial(loss_text, bytes_per_token=shown, tagger=isinstance(corpus, TaggedCorpus)))
    with _closing(writer), Interrupt(report.log) as interrupt:
        written = run if task.ranks.first else None
        metrics = Metrics(written, writer, bytes_per_token, task.methods.metrics)
        position = Fit(task, run, documents, metrics, report, interrupt)(position, state)
    begun = position.epochs_begun
    what = f"the best of {begun} epoch{'s' * (begun > 1)}" if begun else "the model"
    report.log(f"measuring {what} on validation and test")
    # what is measured has been written by rank 0
    task.ranks.at(position.step, "measure")
    task.ranks.wait()
    summary = kind.summarise(experiment, corpus, task.model, run, position, report.reports.track, task.ranks)
    summary["backend"] = backends
    if task.methods.own:
        summary["methods"] = list(task.methods.own)
    if failures():
        summary["failed_kernels"] = failures()
    if task.ranks.first:
        # the summary, by which the run is known to be finished, comes after the card
        run.write_text("README.md", kind.card(summary, experiment, read_manifest(run)))
        run.write_json("summary.json", summary)
        write_report(run, task.model, report.log)
    return summary


@contextlib.contextmanager
def _closing(writer: Any) -> Iterator[None]:
    try:
        yield
    finally:
        if writer is not None:
            writer.close()
