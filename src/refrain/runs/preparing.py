"""Reads the corpus and builds the model of a run, with progress reports."""

from collections.abc import Callable
from typing import Any

from refrain.assembly.backend import choose_backends, native_by_rule, native_in, rounds_in
from refrain.assembly.measured_backend import measure_backends
from refrain.assembly.model import build_device, check_frequent_first
from refrain.assembly.precision import bf16_speedup, uses_bf16
from refrain.assembly.window_times import Shape, Times
from refrain.config import AnyExperiment, Experiment, TaggerTraining, Training
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
    asked = experiment.training
    if before is not None and (before.get("device", "cpu") == "cpu") == (device == "cpu"):
        words = recorded_backends(before)
        training = _with_precision(asked, bf16=rounds_in(words) and has_fast_bf16(device))
        return choose_backends(training, network, log, native_in(words)), {}
    # every rank refuses what its own device cannot do
    bf16 = uses_bf16(asked, device) if ranks.first or asked.precision != "auto" else False
    training = _with_precision(asked, bf16=bf16)
    if ranks.first and device == "cpu" and asked.precision == "bf16" and not asked.deterministic:
        _warn_of_slow_bf16(log)
    own = [bf16, _measured(experiment, training, corpus, network, ranks, log)] if ranks.first else None
    bf16, found = ranks.from_first(own)
    training = _with_precision(asked, bf16=bf16)
    times = {name: Times(*each) for name, each in found.items()}
    rule = native_by_rule(training, network)
    native = {name: each.prefers_native(rule[name]) for name, each in times.items()}
    return choose_backends(training, network, log, native), times


def _with_precision(training: Training | TaggerTraining, *, bf16: bool) -> Training | TaggerTraining:
    """Training settings in which `auto` is replaced by the precision that was chosen."""
    if training.precision != "auto":
        return training
    return training.model_copy(update={"precision": "bf16" if bf16 else "float32"})


def _warn_of_slow_bf16(log: Callable[[str], None]) -> None:
    if (speedup := bf16_speedup()) < 1:
        log(
            f"training.precision=bf16: this processor multiplies matrices in bf16 {speedup:.2f} times as fast as in "
            "float32; training.precision=float32 is faster, and auto chooses the faster of the two"
        )


def _measured(
    experiment: AnyExperiment,
    training: Training | TaggerTraining,
    corpus: AnyCorpus,
    network: Any,
    ranks: Ranks,
    log: Callable[[str], None],
) -> dict[str, Times]:
    """The times of the parts of a language model, where they are to be measured."""
    on_cpu = next(network.parameters()).device.type == "cpu"
    asked = training.backend == "auto" and not training.deterministic and on_cpu
    if not (asked and isinstance(experiment, Experiment) and isinstance(network, LanguageModel)):
        return {}
    assert isinstance(corpus, Corpus) and isinstance(training, Training)
    batch = -(-training.batch_size // ranks.size)
    shape = Shape(
        steps=training.window_steps,
        batch=batch,
        windows=training.epochs * len(corpus.splits["train"].tokens) // (training.window_steps * training.batch_size),
        hidden=experiment.model.hidden_sizes[-1],
        vocabulary=len(corpus.vocabulary),
        minutes=training.max_minutes,
    )
    return measure_backends(network, training, shape, log)
