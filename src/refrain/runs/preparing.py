"""Reads the corpus and builds the model of a run, with progress reports."""

from typing import Any

from refrain.assembly.backend import choose_backends, native_by_rule, native_in
from refrain.assembly.measured_backend import measure_backends
from refrain.assembly.model import build_device, check_frequent_first
from refrain.assembly.window_times import Shape, Times
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
    if before is not None and (before.get("device", "cpu") == "cpu") == (device.type == "cpu"):
        native = native_in(recorded_backends(before))
        return network, choose_backends(experiment.training, network, report.log, native), {}
    with report.reports.step("measuring the backends"):
        found = _measured(experiment, corpus, network, ranks, report) if ranks.first else None
        times = {name: Times(*each) for name, each in ranks.from_first(found).items()}
        rule = native_by_rule(experiment.training, network)
        native = {name: each.prefers_native(rule[name]) for name, each in times.items()}
        return network, choose_backends(experiment.training, network, report.log, native), times


def _measured(
    experiment: AnyExperiment, corpus: AnyCorpus, network: Any, ranks: Ranks, report: Progress
) -> dict[str, Times]:
    """The times of the parts of a language model, where they are to be measured."""
    settings = experiment.training
    on_cpu = next(network.parameters()).device.type == "cpu"
    asked = settings.backend == "auto" and not settings.deterministic and on_cpu
    if not (asked and isinstance(experiment, Experiment) and isinstance(network, LanguageModel)):
        return {}
    assert isinstance(corpus, Corpus)
    training = experiment.training
    batch = -(-training.batch_size // ranks.size)
    shape = Shape(
        steps=training.window_steps,
        batch=batch,
        windows=training.epochs * len(corpus.splits["train"].tokens) // (training.window_steps * training.batch_size),
        hidden=experiment.model.hidden_sizes[-1],
        vocabulary=len(corpus.vocabulary),
        minutes=training.max_minutes,
    )
    return measure_backends(network, training, shape, report.log)
