"""Reads the corpus and builds the model of a run, with progress reports."""

from collections.abc import Callable
from typing import Any

from refrain.assembly.choosing import Choice, choose_again, choose_measured, window_shape
from refrain.assembly.model import build_device, check_frequent_first
from refrain.config import AnyExperiment, Experiment
from refrain.data import Corpus
from refrain.models import LanguageModel
from refrain.parallel import Ranks
from refrain.training.progress import Progress

from .kinds import AnyCorpus, Kind
from .manifest import recorded_backends


def read_corpus(kind: Kind[Any, Any, Any], experiment: AnyExperiment, report: Progress) -> Any:
    """Read the corpus of an experiment.

    Args:
        kind: the kind of the model.
        experiment: the settings of the run.
        report: the progress report.
    """
    with report.reports.step("reading the corpus"):
        return kind.corpus(experiment, report.log)


def build(
    kind: Kind[Any, Any, Any],
    experiment: AnyExperiment,
    corpus: AnyCorpus,
    report: Progress,
    ranks: Ranks,
    before: dict[str, Any] | None = None,
) -> tuple[Any, Choice]:
    """Build the network on its device, and choose its backends, whose kernels are compiled if needed.

    Args:
        kind: the kind of the model.
        experiment: the settings of the run.
        corpus: the corpus.
        report: the progress report.
        ranks: the ranks, which all use what rank 0 has measured.
        before: the manifest of a run that is resumed, which keeps its backends on a device of the same type; None for
            a new run.

    Raises:
        UserError: when a setting does not fit the corpus.

    Returns:
        The network, and the backends of its parts with the measurements by which they were chosen.
    """
    if before is None and isinstance(experiment, Experiment) and isinstance(corpus, Corpus):
        check_frequent_first(experiment.model, corpus.vocabulary)
    with report.reports.step("building the model"):
        device = build_device(experiment.training.device)
        network = kind.model(experiment, corpus).to(device)
    with report.reports.step("measuring the backends"):
        return network, choose(experiment, corpus, network, ranks, report.log, before)


def choose(
    experiment: AnyExperiment,
    corpus: AnyCorpus,
    network: Any,
    ranks: Ranks,
    log: Callable[[str], None],
    before: dict[str, Any] | None = None,
) -> Choice:
    """Choose the backends and the precision of a network, in place, by measurements where the settings leave it open.

    Args:
        experiment: the settings of the run.
        corpus: the corpus.
        network: the network on its device.
        ranks: the ranks, which all use what rank 0 has measured.
        log: called with a line of text before steps that take long, and about a precision that is slow.
        before: the manifest of a run that is resumed; see `build`.
    """
    device = next(network.parameters()).device.type
    if before is not None and (before.get("device", "cpu") == "cpu") == (device == "cpu"):
        return choose_again(experiment.training, network, recorded_backends(before), ranks, log)
    shape = None
    if isinstance(experiment, Experiment) and isinstance(network, LanguageModel):
        assert isinstance(corpus, Corpus)
        tokens = experiment.training.window_steps * experiment.training.batch_size
        windows = experiment.training.epochs * len(corpus.splits["train"].tokens) // tokens
        shape = window_shape(experiment.training, experiment.model, len(corpus.vocabulary), windows, ranks.size)
    return choose_measured(experiment.training, network, shape, ranks, log)
