"""The command `refrain evaluate`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from .evaluate_methods import NAMED, MethodName, learns, method_names, methods_of, note_choices
from .evaluate_outputs import check_outputs
from .evaluate_report import concerns_about, report_all
from .evaluate_several import check_several, evaluate_several
from .evaluate_texts import TextOptions, Texts, training_texts
from .mixing import mixing_of
from .options import (
    Device,
    DeviceOption,
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
    from refrain.data import Corpus, TokenSource
    from refrain.evaluation.methods import Method
    from refrain.progress import Track
    from refrain.runs import SavedModel
    from refrain.trained.language_model import TrainedLanguageModel

    from .mixing import Mixing


def evaluate(
    run: RunArgument,
    /,
    *more: RunArgument,
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
    match_longest: int | None = None,
    match_from: Literal["train", "history"] | None = None,
    search: int | None = None,
    mix: MixOption = None,
    mix_weight: MixWeightOption = None,
    per_token: Path | None = None,
    confusion: Path | None = None,
    force: ForceOption = False,
    skip_bad: SkipBadOption = False,
    column: str | None = None,
    word_column: str | None = None,
    lowercase: LowercaseOption = False,
    tokenise: TokeniseOption = False,
    errors: ErrorsOption = "strict",
    device: DeviceOption = "auto",
    weights: WeightsOption = None,
    json: JsonOption = False,
) -> None:
    """Measure language models (perplexity and more) or taggers (accuracy and more).

    Several runs are measured one after another, and reported as one table. A text is read once for those whose
    vocabularies agree.

    Parameters
    ----------
    more
        More runs: all of language models, or all of taggers.
    data
        Text to measure on instead of the corpus of the run: a folder of splits or a file. A file is read whole unless
        --split is given.
    split
        The part of the corpus. The default is test.
    protocol
        exact: one stream, every token except the first. zaremba and awd: as in the reference systems, 20 or 10 streams
        on every split except test. Each divides by the number of tokens that it scored.
    method
        static (the default): the weights do not change. cache: a neural cache of recent words is mixed in. match: what
        followed the longest earlier match of the last tokens is mixed in. dynamic: the weights are adapted to the text.
        All but static learn from the text that they are measured on, so do not compare them with static results of
        other models. Can be given several times, or as all; each method has a row.
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
    match_longest
        The number of tokens of the longest match that is looked for (48).
    match_from
        train (the default): matches are looked for in the training text of the run, and in the part of the text that
        has been read. history: in that part alone.
    search
        The number of settings of the method to try on the validation text; the best is used.
    per_token
        A file for a table of all tokens with their nats and all words with their bits (exact protocol, static):
        FILE.csv with commas, or FILE.tsv or FILE.txt with tabs.
    confusion
        A PNG file for a picture of a tagger's confusion matrix. Needs the extra `plot`.
    column
        The column of the tags (see data.column). The default is that of each run.
    word_column
        The column of the words (see data.word_column). The default is that of each run.
    """
    names = method_names(method or ["static"], protocol, per_token, search)
    mixing = mixing_of(mix, mix_weight)
    if mixing is not None:
        mixing.check_method(protocol, names, per_token, split, data)
    check_outputs(run, data, per_token, confusion, force=force)
    check_several(more, {"--search": search, "--mix": mix, "--per-token": per_token, "--confusion": confusion})
    cache = {"window": cache_window, "flatness": cache_flatness, "share": cache_share}
    dynamic = {"learning_rate": dynamic_rate, "decay": dynamic_decay, "epsilon": dynamic_epsilon}
    methods = methods_of(names, cache, dynamic, dynamic_steps, streams, match_longest, match_from, split, data, search)

    from refrain import runs

    from .evaluate_tagger import evaluate_tagger, refuse_for

    given: Any = {"device": device, "weights": weights, "json": json}
    saved = runs.find(run)
    of_text = {"--protocol": protocol != "exact", "--method": method, "--search": search, "--mix": mix}
    options = TextOptions(data, split, errors, lowercase, tokenise, skip_bad, column, word_column)
    of_text |= {"--per-token": per_token} | options.of_language_models()
    refuse_for(saved, of_text, {"--confusion": confusion} | options.of_taggers())
    if more:
        evaluate_several([saved, *map(runs.find, more)], options, methods, protocol, **given)
    elif saved.is_tagger:
        evaluate_tagger(saved, options, confusion, force=force, **given)
    else:
        _evaluate(run, saved, options, methods, protocol, search, per_token, mixing, force=force, **given)


def _evaluate(
    run: Path,
    saved: "SavedModel",
    options: TextOptions,
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
    """Measure a language model, and print the figures."""
    from refrain.progress import reporter

    from .loading import load_language_model
    from .training_text import split_of

    if options.data is None:
        check_outputs(run, saved.experiment.data.corpus, per_token, None, force=force)
    if mixing is not None:
        mixing.check_unit(saved)
    reports = reporter()
    with reports.step("reading the text"):
        texts = Texts(options)
        corpus, name = texts.of(saved)
        concerns = texts.concerns(saved, corpus.splits[name], name)
        if options.data is not None:
            # whether a text that is named is one of the run is known once it is read
            own = split_of(saved, corpus.splits[name])
            note_choices(methods, search, own, None, NAMED)
            if mixing is not None:
                mixing.note_choice(own, None)
        training = training_texts(saved, needed=learns(methods, search))
    lm = load_language_model(saved, reports, device=device, weights=weights, packed=mixing is not None)
    if mixing is not None:
        figures = {"static": mixing.measure(lm, saved, corpus, name, reports)}
    else:
        figures = measure_model(lm, corpus, name, training, methods, protocol, search, per_token, force, reports.track)
    about = {"run": str(run), "checkpoint": lm.folder.name, "corpus": corpus.name, "split": name, "protocol": protocol}
    concerns += concerns_about(corpus.vocabulary, corpus.splits[name], figures, own=options.data is None)
    report_all(about, concerns, corpus.splits[name].unseen, figures, json)


def measure_model(
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
    """Measure a model on a split by each method; `training_texts` are read for gradient statistics and the search.

    Args:
        lm: the model.
        corpus: the text, in the tokens of the model.
        split: the split.
        training_texts: the texts that the model was trained and validated on, where a method needs them.
        methods: the methods.
        protocol: the protocol.
        search: the number of settings of each method to try, or None.
        per_token: a file for a table of the tokens, or None.
        force: whether it is replaced.
        track: reports the loops over the texts.

    Returns:
        The figures by the name of the method.
    """
    from dataclasses import replace

    from refrain.data import text_size
    from refrain.evaluation import evaluate as measure_static
    from refrain.evaluation import protocol_windows, write_token_table
    from refrain.evaluation.kept_statistics import kept_statistics
    from refrain.evaluation.measure import fit_matches, measure
    from refrain.evaluation.measure import search as find_settings

    statistics = None
    size = text_size(corpus, split)
    found: dict[str, dict[str, Any]] = {}
    for method in methods:
        if method.dynamics is not None and statistics is None:
            statistics = kept_statistics(lm.model, training_texts["train"], method.steps, track=track)
        if search is not None and (method.cache or method.dynamics):
            found_settings = find_settings(
                lm.model, training_texts["valid"], replace(method, match=None), statistics, budget=search, log=log,
                track=track,
            )  # fmt: skip
            method = replace(found_settings, match=method.match)
        matches = None
        if method.match is not None:
            train, valid = training_texts["train"], training_texts["valid"]
            matches = fit_matches(lm.model, train, valid, method, statistics, track=track)
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
                lm.model, source, method, statistics,
                name=corpus.name, vocabulary=lm.vocabulary, matches=matches, track=track,
            )  # fmt: skip
        seconds = max(time.monotonic() - started, 1e-9)
        found[method.name] = {
            **method.document(),
            **figure.document(size),
            "tokens_per_second": round(figure.tokens / seconds, 1),
        }
    return found
