"""Reads the corpus and builds the model of a run, with progress reports."""

from typing import Any

from refrain.assembly.backend import choose_backends
from refrain.assembly.model import build_device
from refrain.config import AnyExperiment
from refrain.training.progress import Progress

from .kinds import AnyCorpus, Kind


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
    kind: Kind[Any, Any, Any], experiment: AnyExperiment, corpus: AnyCorpus, report: Progress
) -> tuple[Any, dict[str, str]]:
    """Build the network on its device, and choose its backends, whose kernels are compiled if needed.

    Args:
        kind: the kind of the model.
        experiment: the settings of the run.
        corpus: the corpus.
        report: the progress report.

    Returns:
        The network, and the backend of each of its parts.
    """
    with report.reports.step("building the model"):
        network = kind.model(experiment, corpus).to(build_device(experiment.training.device))
        return network, choose_backends(experiment.training, network, report.log)
