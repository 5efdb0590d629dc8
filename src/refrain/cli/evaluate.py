"""The command `refrain evaluate`."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from .evaluate_methods import MethodName, learns, method_names, methods_of
from .evaluate_outputs import check_outputs
from .evaluate_report import report_all
from .mixing import mixing_of
from .options import (
    Device,
    DeviceOption,
    Errors,
    ErrorsOption,
    ForceOption,
    JsonOption,
    LowercaseOption,
    MixOption,
    MixWeightOption,
    Protocol,
    RunArgument,
    SkipBadOption,
    TokeniseOption,
    Weights,
    WeightsOption,
)
from .output import log, log_written

if TYPE_CHECKING:
    from refrain.config import Data
    from refrain.data import Corpus, TokenSource, Vocabulary
    from refrain.evaluation.methods import Method
    from refrain.progress import Track
    from refrain.runs import SavedModel
    from refrain.trained.language_model import TrainedLanguageModel

    from .mixing import Mixing


def evaluate(
    run: RunArgument,
    /,
    *,
    data: Path | None = None,
    split: Literal["train", "valid", "test"] | None = None,
    protocol: Protocol = "exact",
    method: Annotated[list[Literal[MethodName, "all"]] | None, Parameter(negative=())] = None,
    cache_window: int | None = None,
    cache_flatness: float | None = None,
    cache_share: float | None = None,
    dynamic_rate: float | None = None,
    dynamic_decay: float | None = None,
    dynamic_epsilon: float | None = None,
    dynamic_steps: int | None = None,
    streams: int | None = None,
    search: int | None = None,
    mix: MixOption = None,
    mix_weight: MixWeightOption = None,
    per_token: Path | None = None,
    confusion: Path | None = None,
    force: ForceOption = False,
    skip_bad: SkipBadOption = False,
    lowercase: LowercaseOption = False,
    tokenise: TokeniseOption = False,
    errors: ErrorsOption = "strict",
    device: DeviceOption = "auto",
    weights: WeightsOption = None,
    json: JsonOption = False,
) -> None:
    """Measure a language model (perplexity and more) or a tagger (accuracy and more).

    Parameters
    ----------
    data
        Text to measure on instead of the corpus of the run: a folder of splits or a file. A file is read whole unless
        --split is given.
    split
        The part of the corpus. The default is test.
    protocol
        exact: one stream, every token except the first. zaremba and awd: as in the reference systems, 20 or 10 streams
        on every split except test. Each divides by the number of tokens that it scored.
    method
        static (the default): the weights do not change. cache: a neural cache of recent words is mixed in. dynamic: the
        weights are adapted to the text. Cache and dynamic learn from the text that they are measured on, so do not
        compare them with static results of other models. Can be given several times, or as all; each method has a row.
    cache_window
        The number of recent words in the cache (2000).
    cache_flatness
        Theta: how strongly the cache prefers similar states (1.0).
    cache_share
        Lambda: the share of the cache in the mixture (0.1).
    dynamic_rate
        The learning rate of dynamic evaluation (5e-5 for windows of 5 steps).
    dynamic_decay
        Lambda: the decay towards the trained weights (2e-3 for windows of 5 steps).
    dynamic_epsilon
        The number added to the root mean square of the gradients (2e-5).
    dynamic_steps
        The number of steps in a window of dynamic evaluation (5).
    streams
        The number of streams of dynamic evaluation that share the weights (1).
    search
        The number of settings of the method to try on the validation text; the best is used.
    per_token
        A file for a table of all tokens with their nats and all words with their bits (exact protocol, static):
        FILE.csv with commas, or FILE.tsv or FILE.txt with tabs.
    confusion
        A PNG file for a picture of a tagger's confusion matrix. Needs the extra `plot`.
    """
    names = method_names(method or ["static"], protocol, per_token, search)
    mixing = mixing_of(mix, mix_weight)
    if mixing is not None:
        mixing.check_method(protocol, names, per_token)
    check_outputs(run, data, per_token, confusion, force=force)
    cache = {"window": cache_window, "flatness": cache_flatness, "share": cache_share}
    dynamic = {"learning_rate": dynamic_rate, "decay": dynamic_decay, "epsilon": dynamic_epsilon}
    methods = methods_of(names, cache, dynamic, dynamic_steps, streams)

    from refrain import runs
    from refrain.runs.own_names import check_given

    from .evaluate_tagger import evaluate_tagger, refuse

    more: Any = {"force": force, "device": device, "weights": weights, "json": json}
    saved = runs.find(run)
    if saved.is_tagger:
        refuse(
            {"--protocol": protocol != "exact", "--method": method, "--search": search, "--mix": mix}, "with a tagger"
        )
        refuse({"--per-token": per_token, "--lowercase": lowercase, "--tokenise": tokenise}, "with a tagger")
        evaluate_tagger(saved, data, split, errors, confusion, skip_bad=skip_bad, **more)
        return
    check_given(saved.document, None, run)
    refuse({"--confusion": confusion, "--skip-bad": skip_bad}, "with a language model")
    if data is None:
        check_outputs(run, saved.experiment.data.corpus, per_token, None, force=force)
    reading = {"lowercase": lowercase, "tokenise": tokenise, "needed": learns(methods, search)}
    with_text = partial(_texts, saved, data, split, errors, **reading)
    _evaluate(run, saved, with_text, methods, protocol, search, per_token, mixing, **more)


def _evaluate(
    run: Path,
    saved: "SavedModel",
    read: "Callable[[], tuple[tuple[Corpus, str], dict[str, TokenSource]]]",
    methods: "list[Method]",
    protocol: Protocol,
    search: int | None,
    per_token: Path | None,
    mixing: "Mixing | None",
    *,
    force: bool,
    device: Device,
    weights: Weights | None,
    json: bool,
) -> None:
    """Measure a language model on the text that `read` returns, and print the figures."""
    from refrain.progress import reporter

    from .loading import load_language_model

    if mixing is not None:
        mixing.check_unit(saved)
    reports = reporter()
    with reports.step("reading the text"):
        (corpus, name), training_texts = read()
    lm = load_language_model(saved, reports, device=device, weights=weights, packed=mixing is not None)
    if mixing is not None:
        figures = {"static": mixing.measure(lm, saved, corpus, name, reports)}
    else:
        figures = _measure(lm, corpus, name, training_texts, methods, protocol, search, per_token, force, reports.track)
    about = {"run": str(run), "checkpoint": lm.folder.name, "corpus": corpus.name, "split": name, "protocol": protocol}
    report_all(about, lm.vocabulary, corpus.splits[name], figures, json)


def _texts(
    saved: "SavedModel",
    data: Path | None,
    split: str | None,
    errors: Errors,
    *,
    lowercase: bool,
    tokenise: bool,
    needed: bool,
) -> "tuple[tuple[Corpus, str], dict[str, TokenSource]]":
    """The text to measure on with the name of its split, and if needed the texts that the model was trained on."""
    from refrain.config import Data
    from refrain.data import vocabulary_from
    from refrain.data.units.protocol import fitted
    from refrain.errors import UserError

    settings = saved.experiment.data
    assert isinstance(settings, Data)
    if errors != "strict" and not settings.takes_effect("errors"):
        raise UserError(f"--errors cannot take effect with a model of {settings.unit}s")
    changed = {"errors": errors} if data is None else {"errors": errors, "corpus": str(data)}
    vocabulary = vocabulary_from(saved.checkpoint.document("vocabulary"))
    read = fitted(vocabulary, lowercase=lowercase, tokenise=tokenise)
    found = _text(settings.model_copy(update=changed), read, split or ("test" if data is None else None))
    parts = ("train", "valid") if needed else ()
    return found, {part: _text(settings, vocabulary, part)[0].splits[part].tokens for part in parts}


def _text(settings: "Data", vocabulary: "Vocabulary", split: str | None) -> "tuple[Corpus, str]":
    """A text encoded with a vocabulary, and the name of its split."""
    from refrain import assembly

    return assembly.build_text(settings, assembly.locate(settings.corpus, log), split, vocabulary, log)


def _measure(
    lm: "TrainedLanguageModel",
    corpus: "Corpus",
    split: str,
    training_texts: "dict[str, TokenSource]",
    methods: "list[Method]",
    protocol: Protocol,
    search: int | None,
    per_token: Path | None,
    force: bool,
    track: "Track",
) -> dict[str, dict[str, Any]]:
    """Measure a model on a split by each method; `training_texts` are read for gradient statistics and the search."""
    from refrain.data import text_size
    from refrain.evaluation import evaluate as measure_static
    from refrain.evaluation import protocol_windows, write_token_table
    from refrain.evaluation.kept_statistics import kept_statistics
    from refrain.evaluation.measure import measure
    from refrain.evaluation.measure import search as find_settings

    statistics = None
    size = text_size(corpus, split)
    found: dict[str, dict[str, Any]] = {}
    for method in methods:
        if method.dynamics is not None and statistics is None:
            statistics = kept_statistics(lm.model, training_texts["train"], method.steps, track=track)
        if search is not None and method.name != "static":
            method = find_settings(
                lm.model, training_texts["valid"], method, statistics, budget=search, log=log, track=track
            )
        source = corpus.splits[split].tokens
        started = time.monotonic()
        if per_token is not None:
            figure = write_token_table(per_token, lm.model, corpus, split, force=force, track=track)
            log_written(per_token)
        elif method.name == "static":
            steps = lm.config["training"]["window_steps"]
            windows = protocol_windows(source, protocol, split=split, window_steps=steps, name=corpus.name)
            figure = measure_static(lm.model, windows, lm.vocabulary, track=track)
        else:
            figure = measure(
                lm.model, source, method, statistics, name=corpus.name, vocabulary=lm.vocabulary, track=track
            )
        seconds = max(time.monotonic() - started, 1e-9)
        found[method.name] = {
            **method.document(),
            **figure.document(size),
            "tokens_per_second": round(figure.tokens / seconds, 1),
        }
    return found
