"""Compression of a tagger: its matrices are stored in int8."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from refrain.arguments import check_choice, path_of
from refrain.assembly.corpus import locate
from refrain.assembly.tagged_corpus import build_tagged_text
from refrain.config import TaggerExperiment
from refrain.errors import UserError
from refrain.evaluation.tagging import TaggingFigure
from refrain.nn.kernels.packed_linear import WeightType
from refrain.progress import Reporter
from refrain.runs.checks import check_apart
from refrain.runs.loading import load_tagger
from refrain.storage.output_checks import check_folder, run_parts
from refrain.trained.tagger import TrainedTagger

from .compressed_run import complete_run, fresh_folder, weight_bytes, write_run


def compress_tagger(
    run: str | Path,
    out: str | Path,
    *,
    weights: WeightType = "int8",
    data: str | None = None,
    force: bool = False,
    log: Callable[[str], None] = lambda line: None,
    reports: Reporter | None = None,
) -> dict[str, Any]:
    """Write a new run with the weights of a tagger in int8. The other run is not changed.

    Args:
        run: the run folder, whose best checkpoint is read.
        out: the new run folder, which must be new or empty.
        weights: `int8`, or `float32` for a tagger that is stored in int8.
        data: the sentences for the figures; None is the run's own test text.
        force: replace an existing run at `out`.
        log: called with a line of text for each step that takes time.
        reports: reports these steps while they run; None reports nothing.

    Returns:
        `weights`, and `before` and `after`, each with parameters, bytes, accuracy and nats_per_token.

    Raises:
        UserError: when the weights are stored so already, or an argument is of another type or another word.
        DataError: when the sentences are missing or bad.
        CheckpointError: when the run cannot be read, or `out` exists.
    """
    check_choice("weights", weights, get_args(WeightType))
    reports, out = reports or Reporter(None), path_of(out, "out")
    check_apart(path_of(run, "run", "a run folder"), out, force=force)
    check_folder("--out", out, run_parts(out), [data])
    with reports.step(f"loading {run}"):
        given = load_tagger(run)
    if given.weights == weights:
        raise UserError(f"{run}: has {weights} weights already")
    experiment = TaggerExperiment.model_validate(given.config)
    settings = experiment.data
    check_folder("--out", out, run_parts(out), [settings.corpus])
    # other sentences are not dealt to the folds of a cross-validation
    own = {} if data is None else {"folds": None, "fold": 1, "fold_seed": None}
    path = locate(settings.corpus if data is None else data, log)
    with reports.step("reading the sentences"):
        read = settings.model_copy(update=own)
        split = "test" if data is None else None
        corpus = build_tagged_text(read, path, split, given.vocabulary, can_skip=False)
    ((_, sentences),) = corpus.splits.items()
    found: dict[str, Any] = {"run": str(run), "out": str(out), "data": data, "weights": weights}
    before = given.evaluate(sentences.sentences, track=reports.track)
    with fresh_folder(out) as folder:
        write_run(folder, experiment, given, given.model, corpus, weights=weights)
        rounded = load_tagger(folder)
        after = rounded.evaluate(sentences.sentences, track=reports.track)
        found |= {"before": _figures(given, before), "after": _figures(rounded, after)}
        complete_run(folder, out, found, _card(experiment.name, corpus.name, found), force=force)
    return found


def _figures(tagger: TrainedTagger, figure: TaggingFigure) -> dict[str, Any]:
    return {
        "parameters": sum(parameter.numel() for parameter in tagger.model.parameters()),
        "bytes": weight_bytes(tagger.folder),
        "accuracy": figure.words.accuracy,
        "nats_per_token": figure.nats_per_token,
    }


def _card(name: str, corpus: str, found: dict[str, Any]) -> str:
    """Return the text of the README of the run."""
    before, after = found["before"], found["after"]
    forms = {"parameters": ",", "bytes": ",", "accuracy": ".4f", "nats_per_token": ".4f"}
    lines = [
        f"# {name}, with {found['weights']} weights",
        "",
        f"The tagger of {found['run']}, measured on {corpus}; `summary.json` has more.",
        "",
        "| | before | after |",
        "|---|---|---|",
        *(f"| {key.replace('_', '-')} | {before[key]:{form}} | {after[key]:{form}} |" for key, form in forms.items()),
    ]
    return "\n".join(lines) + "\n"
