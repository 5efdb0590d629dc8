"""Reads the corpus and builds the model of a run, with progress reports."""

from collections.abc import Callable
from typing import Any

from refrain.assembly.backend import choose_backends, native_in, rounds_in
from refrain.assembly.choosing import choose_measured, window_shape, with_precision
from refrain.assembly.model import build_device, check_frequent_first
from refrain.assembly.window_times import Times
from refrain.config import AnyExperiment, Experiment
from refrain.data import Corpus
from refrain.models import LanguageModel
from refrain.nn.kernels.backend import has_fast_bf16
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
) -> tuple[Any, dict[str, str], dict[str, Times]]:
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
        The network, the backend of each of its parts, and the times by which they were chosen, where they were.
    """
    if before is None and isinstance(experiment, Experiment) and isinstance(corpus, Corpus):
        check_frequent_first(experiment.model, corpus.vocabulary)
    with report.reports.step("building the model"):
        device = build_device(experiment.training.device)
        network = kind.model(experiment, corpus).to(device)
    with report.reports.step("measuring the backends"):
        backends, times = choose(experiment, corpus, network, ranks, report.log, before)
    return network, backends, times


def choose(
    experiment: AnyExperiment,
    corpus: AnyCorpus,
    network: Any,
    ranks: Ranks,
    log: Callable[[str], None],
    before: dict[str, Any] | None = None,
) -> tuple[dict[str, str], dict[str, Times]]:
    """Choose the backends and the precision of a network, in place, by measurements where the settings leave it open.

    Args:
        experiment: the settings of the run.
        corpus: the corpus.
        network: the network on its device.
        ranks: the ranks, which all use what rank 0 has measured.
        log: called with a line of text before steps that take long, and about a precision that is slow.
        before: the manifest of a run that is resumed; see `build`.

    Returns:
        The backend of each part of the network, and the times by which they were chosen, where they were.
    """
    device = next(network.parameters()).device.type
    if before is not None and (before.get("device", "cpu") == "cpu") == (device == "cpu"):
        words = recorded_backends(before)
        training = with_precision(experiment.training, bf16=rounds_in(words) and has_fast_bf16(device))
        return choose_backends(training, network, log, native_in(words)), {}
    shape = None
    if isinstance(experiment, Experiment) and isinstance(network, LanguageModel):
        assert isinstance(corpus, Corpus)
        tokens = experiment.training.window_steps * experiment.training.batch_size
        windows = experiment.training.epochs * len(corpus.splits["train"].tokens) // tokens
        shape = window_shape(experiment.training, experiment.model, len(corpus.vocabulary), windows, ranks.size)
    return choose_measured(experiment.training, network, shape, ranks, log)
