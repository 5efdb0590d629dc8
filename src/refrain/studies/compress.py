"""Compression: write a smaller run, and check that what is removed from it exactly has no effect."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from refrain.arguments import path_of
from refrain.assembly.corpus import build_text, locate
from refrain.config import Experiment
from refrain.config.following import following, value_text
from refrain.config.loader import amended
from refrain.config.schema import settings_of
from refrain.data import Corpus, Vocabulary
from refrain.data.units.protocol import CountsTokens, fitted
from refrain.errors import UserError
from refrain.models import LanguageModel
from refrain.nn.kernels.packed_linear import WeightType
from refrain.progress import Reporter
from refrain.runs.checks import check_apart
from refrain.runs.loading import load_language_model
from refrain.runs.training import train
from refrain.storage.output_checks import check_folder, run_parts
from refrain.trained.language_model import TrainedLanguageModel

from .compress_figures import Measured, figures_of
from .compressed_run import card_of, check_zeros, complete_run, fresh_folder, weight_bytes, write_run
from .low_rank import Ranks, check_reducible, is_tied, widths_of
from .masked_proof import differences
from .rank_bands import Asked, check_frequencies, rank_of
from .removal_cost import Request, Validation, accepted, checked_request, cost_of, open_validation
from .smaller import target_size
from .smaller_model import Smaller, Start, Target, make_smaller, size_of
from .smallest_loss import smallest_loss


def compress(
    run: str | Path,
    out: str | Path,
    *,
    threshold: float | None = None,
    to: tuple[str, int | str] | None = None,
    max_loss: float | None = None,
    weights: WeightType | None = None,
    embedding_rank: Asked = None,
    head_rank: Asked = None,
    zeros: float | None = None,
    finetune_epochs: int = 0,
    data: str | None = None,
    lowercase: bool = False,
    tokenise: bool = False,
    force: bool = False,
    log: Callable[[str], None] = lambda line: None,
    reports: Reporter | None = None,
) -> dict[str, Any]:
    """Write a new run with a smaller model than that of another run, which is not changed.

    Dead units are removed in any case, which does not change what the model computes.

    Args:
        run: the run folder, whose best checkpoint is read.
        out: the new run folder, which must be new or empty.
        threshold: also remove units all of whose weights have an absolute value below this.
        to: `parameters`, `multiply_adds`, `layer_multiply_adds` or `bytes` and the largest value allowed, which is a
            number, `7M` or `50%` of the model's; units are removed until the model is small enough, those first that
            cost the least loss on the validation text for the size that they save. For `bytes`, weights are int8 by
            default, and without ranks, several ranks and zeros are tried as well.
        max_loss: the largest growth of the perplexity on the validation text, as a fraction, for which a model that
            computes something else is written; None is 0.2, and no limit with `force` or before finetuning.
        weights: `int8` stores every matrix in int8 with a scale for each row, `float32` in float32; None is what the
            run has.
        embedding_rank: the rank to which the embedding is reduced, which becomes its width: a number, or a percentage
            of the present width; or bands of words with a rank for each, as pairs of the first word and the rank, such
            as `[(0, 100), (1000, 50)]`, with the largest rank as the width. A matrix that embedding and head share has
            one rank, or the same bands; give either.
        head_rank: the rank to which the head is reduced, or bands of words with a rank for each.
        zeros: the fraction of the entries of each matrix, those of the smallest absolute values, that become zero.
        finetune_epochs: the number of epochs to train the smaller model with the run's training settings.
        data: the text for the comparison and the measurements; None is the run's own test text. A folder is read for
            its validation text as well, and a file is used for both.
        lowercase: convert the text to lower case, beside what the model was trained with.
        tokenise: split words from punctuation, beside what the model was trained with.
        force: replace an existing run at `out`, and, without `max_loss`, write a model however much worse it is.
        log: called with a line of text for each step that takes time.
        reports: reports these steps while they run; None reports nothing.

    Returns:
        `data`; `removed`, the number of removed units by width; `ranks` and `weights`; `before`, `after` and, after
        finetuning, `finetuned`, each with widths, parameters, bytes, multiply_adds, layer_multiply_adds, perplexity,
        ms_per_token and tokens_per_second; the largest difference of log-probabilities from those of the masked model,
        `max_abs_difference` in float64 and `float32_difference`; and if the smaller model computes something else,
        `cost`, the perplexity of the validation text `before` and `after`.

    Raises:
        UserError: when nothing or a whole layer would be removed, a target cannot be reached, the smaller model is
            worse than `max_loss` allows, or an argument is of another type or out of range.
        DataError: when the text is missing or invalid.
        CheckpointError: when the run cannot be read, `out` exists, or the smaller model does not compute the same.
    """
    request = checked_request(
        Request(threshold, to, max_loss, weights, embedding_rank, head_rank, finetune_epochs, zeros)
    )
    reports = reports or Reporter(None)
    out = path_of(out, "out")
    check_apart(path_of(run, "run", "a run folder"), out, force=force)
    check_folder("--out", out, run_parts(out), [data])
    with reports.step(f"loading {run}"):
        lm = load_language_model(run)
    experiment = Experiment.model_validate(lm.config)
    check_folder("--out", out, run_parts(out), [experiment.data.corpus])
    if finetune_epochs:
        _with_epochs(experiment, finetune_epochs, log)
    reading = fitted(lm.vocabulary, lowercase=lowercase, tokenise=tokenise)
    ranks = _ranks(lm.model, request, len(lm.vocabulary))
    text = open_validation(reading, experiment, data, log) if request.is_lossy else None
    dtype = _weights(request, lm)
    target = _target(lm, request, dtype)
    start = Start(lm.model, experiment, counts_of(lm.vocabulary, text), text, lm.weights, dtype, reports)
    smaller = _smaller(start, request, target, ranks, log)
    report = {"run": str(run), "out": str(out), "data": data, **smaller.document()}
    if text is not None:
        cost = cost_of(lm.model, smaller.model, text, reports.track)
        report["cost"] = accepted(cost, request, whatever=force or finetune_epochs > 0).document()
        log(f"{smaller}, {cost}")
    with reports.step("reading the text"):
        corpus, split = measured_text(reading, experiment, data, log)
    with reports.step("comparing the models"):
        report |= differences(smaller.masked, smaller.small, corpus.splits[split].tokens)
    log("measuring, in turns")
    return _written(report, out, lm, smaller, (corpus, split), reports, epochs=finetune_epochs, force=force)


def _written(
    report: dict[str, Any],
    out: Path,
    lm: TrainedLanguageModel,
    smaller: Smaller,
    text: tuple[Corpus, str],
    reports: Reporter,
    *,
    epochs: int,
    force: bool,
) -> dict[str, Any]:
    """Write a smaller model, finetune it for some epochs, measure it, and return the report with its figures."""
    corpus, split = text
    with fresh_folder(out) as folder:
        start = report["run"] if epochs else None
        size = write_run(folder, smaller.experiment, lm, smaller.model, corpus, weights=smaller.weights, start_of=start)
        models = [Measured(lm.model, weight_bytes(lm.folder), lm.weights)]
        models.append(Measured(smaller.model, size, smaller.weights))
        if epochs:
            best = _finetuned(_with_epochs(smaller.experiment, epochs), out, folder, report["run"], force=force)
            models.append(Measured(best.model, weight_bytes(best.folder), best.weights))
        report |= figures_of(models, corpus, split, reports)
        if not epochs:
            card = card_of(smaller.experiment.name, report, corpus.name)
            complete_run(folder, out, report, card, force=force)
    return report


def _ranks(model: LanguageModel, request: Request, words: int) -> Ranks:
    """The ranks that are asked for.

    Raises:
        UserError: when they do not fit the model.
    """
    if request.embedding is None and request.head is None:
        return Ranks()
    shared = is_tied(model)
    check_reducible(model, embedding=request.embedding is not None or shared, head=request.head is not None or shared)
    width, last = widths_of(model)
    if not shared:
        return Ranks(
            rank_of("--embedding", request.embedding, width, words), rank_of("--head", request.head, last, words)
        )
    if None not in (request.embedding, request.head):
        raise UserError(
            "--embedding and --head: the model shares one matrix, whose ranks are the same; give either of them"
        )
    least = min(width, last)
    both = rank_of("--embedding", request.embedding, least, words) or rank_of("--head", request.head, least, words)
    return Ranks(both, both)


def _weights(request: Request, lm: TrainedLanguageModel) -> WeightType:
    """The dtype of the weights of the smaller model."""
    if request.finetune_epochs:
        return "float32"
    to_bytes = request.to is not None and request.to[0] == "bytes"
    return request.weights or ("int8" if to_bytes else lm.weights)


def _target(lm: TrainedLanguageModel, request: Request, weights: WeightType) -> Target | None:
    if request.to is None:
        return None
    measure, asked = request.to
    # with zeros that are asked for, sizes are those of dense matrices
    is_file = measure == "bytes" and request.zeros is None
    whole = weight_bytes(lm.folder) if is_file else size_of(lm.model, measure)
    size = target_size(measure, asked, whole)
    return Target("int8_bytes" if measure == "bytes" and weights == "int8" else measure, size)


def counts_of(vocabulary: Vocabulary, text: Validation | None) -> list[float]:
    """How often each word occurs: in the training text if the vocabulary has that, otherwise in the validation text."""
    counts = vocabulary.counts if isinstance(vocabulary, CountsTokens) else None
    if counts is not None or text is None:
        return list(counts) if counts is not None else [1.0] * len(vocabulary)
    found = np.zeros(len(vocabulary), np.int64)
    for index in range(len(text.windows)):
        found += np.bincount(text.windows[index][1].numpy().ravel(), minlength=len(vocabulary))
    return [float(count) for count in found]


def _smaller(
    start: Start, request: Request, target: Target | None, ranks: Ranks, log: Callable[[str], None]
) -> Smaller:
    for part, rank in ranks._asdict().items():
        if isinstance(rank, tuple):
            check_frequencies(f"--{part}", rank, start.counts)
    chosen = ranks or request.zeros is not None or request.finetune_epochs
    if target is not None and target.measure.endswith("bytes") and not chosen:
        return smallest_loss(start, request, target, log)
    smaller = make_smaller(start, request, target, ranks, request.zeros)
    if request.zeros is not None:
        check_zeros(smaller.small, smaller.model, request.zeros, smaller.weights)
    return smaller


def _finetuned(experiment: Experiment, out: Path, start: Path, run: str | Path, *, force: bool) -> TrainedLanguageModel:
    """Train a smaller model further, in its new run folder, and load the best checkpoint."""
    train(experiment, out, start_from=start, force=force, command=f"finetuning of {run}, compressed")
    return load_language_model(out)


def _with_epochs(experiment: Experiment, epochs: int, log: Callable[[str], None] = lambda line: None) -> Experiment:
    """The training settings of the run for some epochs; windows that look further back become as short as needed."""
    given = {"training.epochs": epochs}
    followed, _ = following(settings_of(experiment), [given])
    # the schedule stays that of the run
    windows = {name: value for name, value in followed.items() if not name.startswith("training.schedule")}
    if windows:
        words = ", ".join(f"{name}={value_text(value)}" for name, value in windows.items())
        log(f"--finetune-epochs {epochs} brings with it {words}")
    try:
        return Experiment.model_validate(amended(experiment, [given | windows]))
    except UserError as error:
        raise UserError(f"--finetune-epochs {epochs}: {str(error).removeprefix('settings: ')}") from None


def measured_text(
    vocabulary: Vocabulary, experiment: Experiment, data: str | None, log: Callable[[str], None]
) -> tuple[Corpus, str]:
    """Open the text of the figures of a model: the test split of its corpus, or a text that is given.

    Args:
        vocabulary: the vocabulary of the model.
        experiment: its settings.
        data: a folder of splits, or a file; None is the corpus of the run.
        log: called with a line of text for each step that takes time.

    Returns:
        A corpus with one split, and the name of the split.

    Raises:
        DataError: when the text is missing or invalid.
    """
    if data is None:
        return build_text(experiment.data, locate(experiment.data.corpus, log), "test", vocabulary, log)
    return build_text(experiment.data, locate(data, log), None, vocabulary, log)
