"""`refrain evaluate`."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from cyclopts import Parameter

from refrain.config.experiment import Protocol

from .output import say

if TYPE_CHECKING:
    from refrain.config import Data
    from refrain.data import Corpus, TokenSource, Vocabulary
    from refrain.evaluation.measure import Method
    from refrain.trained.language_model import TrainedLanguageModel

FIGURES = ("nats_per_token", "bits_per_token", "bits_per_byte", "perplexity")
MethodName = Literal["static", "cache", "dynamic", "dynamic+cache"]


def evaluate(
    run: Path,
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
    per_token: Path | None = None,
    confusion: Path | None = None,
    skip_bad: Annotated[bool, Parameter(negative=())] = False,
    errors: Literal["strict", "replace"] = "strict",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    weights: Literal["float32", "int8"] = "float32",
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Perplexity and other figures of a language model, or accuracy and other figures of a tagger.

    Parameters
    ----------
    run
        A run folder, or one of its checkpoints.
    data
        Other text than the run's own: a folder of splits, or a file, which is read whole unless --split says otherwise.
    split
        Which part of the corpus; by default test.
    protocol
        exact: one stream, every token but the first. zaremba and awd: as the reference systems, 20 or 10 columns on
        any split but test. Each divides by the tokens it scored.
    method
        static, the default: the weights stay as they are. cache: a neural cache of recent words is mixed in. dynamic:
        the weights follow the text. Figures of different methods do not compare as models do: cache and dynamic see the
        text. Given several times, or as all, each method is measured and has a row of its own.
    cache_window
        How many recent words the cache holds (2000).
    cache_flatness
        Theta: how sharply the cache prefers like states (1.0).
    cache_share
        Lambda: the cache's share in the mixture (0.1).
    dynamic_rate
        Learning rate of dynamic evaluation (5e-5 for windows of 5 steps).
    dynamic_decay
        Lambda: decay towards the trained weights (2e-3 for windows of 5 steps).
    dynamic_epsilon
        Added to the root mean square of the gradients (2e-5).
    dynamic_steps
        Steps of a window of dynamic evaluation (5).
    streams
        Columns of dynamic evaluation that share the weights (1).
    search
        Try so many settings of the method on the validation text and use the best.
    per_token
        Write a table of tokens with their nats and of words with their bits (exact protocol, static).
    confusion
        Draw which tags a tagger takes for which, as PNG (needs the extra 'plot').
    skip_bad
        Leave out tagged sentences with mistakes and list them, instead of stopping.
    errors
        What invalid UTF-8 does: stop (strict) or become U+FFFD (replace).
    device
        Where to compute.
    weights
        int8: every matrix rounded to 127ths of the largest entry of each row; a token reads a quarter of the memory.
    json
        Print the figures as one JSON object.
    """
    names: list[MethodName] = _names(method or ["static"])
    _check(names, protocol, per_token, search)
    cache = {"window": cache_window, "flatness": cache_flatness, "share": cache_share}
    dynamic = {"learning_rate": dynamic_rate, "decay": dynamic_decay, "epsilon": dynamic_epsilon}
    methods = _methods(names, cache, dynamic, dynamic_steps, streams)

    from refrain import assembly, runs
    from refrain.config import Data
    from refrain.errors import UserError
    from refrain.trained.tagger import TrainedTagger

    from .evaluate_tagger import evaluate_tagger, refuse

    lm = runs.load(run, device=device, weights=weights)
    if isinstance(lm, TrainedTagger):
        given = {"--protocol": protocol != "exact", "--method": method, "--search": search, "--per-token": per_token}
        refuse(given, "with a tagger")
        evaluate_tagger(run, lm, data, split, errors, confusion, skip_bad=skip_bad, json=json)
        return
    refuse({"--confusion": confusion, "--skip-bad": skip_bad}, "with a language model")
    settings = Data.model_validate(lm.config["data"])
    if errors != "strict" and not settings.takes_effect("errors"):
        raise UserError(f"--errors cannot take effect with a model of {settings.unit}s")
    if data is None:
        split = split or "test"
    path = assembly.locate(settings.corpus if data is None else str(data), say)
    corpus, name = assembly.build_text(settings.model_copy(update={"errors": errors}), path, split, lm.vocabulary, say)
    needed = search is not None or any(chosen.dynamics is not None for chosen in methods)
    own = _own_texts(settings, lm.vocabulary) if needed else {}
    figures = _measure(lm, corpus, name, own, methods, protocol, search, per_token)
    place = {"run": str(run), "checkpoint": lm.folder.name, "corpus": corpus.name, "split": name, "protocol": protocol}
    _report_all(place, {"unseen": corpus.splits[name].unseen}, figures, json)


def _own_texts(settings: "Data", vocabulary: "Vocabulary") -> "dict[str, TokenSource]":
    """The model's own training and validation text, in the ids that it was trained with."""
    from refrain import assembly

    path = assembly.locate(settings.corpus, say)
    return {
        part: assembly.build_text(settings, path, part, vocabulary, say)[0].splits[part].tokens
        for part in ("train", "valid")
    }


def _names(asked: "Sequence[MethodName | Literal['all']]") -> list[MethodName]:
    if "all" in asked:
        return list(get_args(MethodName))
    return [name for name in dict.fromkeys(asked) if name != "all"]


def _measure(
    lm: "TrainedLanguageModel",
    corpus: "Corpus",
    split: str,
    own: "dict[str, TokenSource]",
    methods: "list[Method]",
    protocol: Protocol,
    search: int | None,
    per_token: Path | None,
) -> dict[str, dict[str, Any]]:
    """Method -> figures of a model on a split; `own` holds the texts of its training, for statistics and search."""
    from refrain.evaluation import evaluate as measure_static
    from refrain.evaluation import protocol_windows, write_token_table
    from refrain.evaluation.measure import measure, statistics_of
    from refrain.evaluation.measure import search as find_settings

    statistics = None
    found: dict[str, dict[str, Any]] = {}
    for method in methods:
        if method.dynamics is not None and statistics is None:
            say("gathering gradient statistics on the training text")
            statistics = statistics_of(lm.model, own["train"], method.steps, say)
        if search is not None and method.name != "static":
            method = find_settings(lm.model, own["valid"], method, statistics, budget=search, say=say)
        source, started = corpus.splits[split].tokens, time.monotonic()
        if per_token is not None:
            figure = write_token_table(per_token, lm.model, corpus, split)
        elif method.name == "static":
            steps = lm.config["training"]["window_steps"]
            windows = protocol_windows(source, protocol, split=split, window_steps=steps, name=corpus.name)
            figure = measure_static(lm.model, windows)
        else:
            figure = measure(lm.model, source, method, statistics, name=corpus.name)
        seconds = max(time.monotonic() - started, 1e-9)
        found[method.name] = {
            **method.document(),
            **figure.document(corpus.vocabulary.bytes_per_token),
            "tokens_per_second": round(figure.tokens / seconds, 1),
        }
    return found


def _methods(
    names: Sequence[MethodName],
    cache: dict[str, Any],
    dynamic: dict[str, Any],
    steps: int | None,
    streams: int | None,
) -> "list[Method]":
    """The methods with the options that were given."""
    from refrain.errors import UserError

    cache = {key: value for key, value in cache.items() if value is not None}
    dynamic = {key: value for key, value in dynamic.items() if value is not None}
    chosen = ", ".join(names)
    if cache and not any("cache" in name for name in names):
        raise UserError(f"--cache-{next(iter(cache))} cannot take effect with --method {chosen}")
    if (dynamic or steps or streams) and not any("dynamic" in name for name in names):
        raise UserError(f"settings of dynamic evaluation cannot take effect with --method {chosen}")
    for option, value in (("--dynamic-steps", steps), ("--streams", streams)):
        if value is not None and value < 1:
            raise UserError(f"{option} must be at least 1 (got {value})")
    if "dynamic+cache" in names and (streams or 1) > 1:
        raise UserError(f"--streams must be 1 with a cache (got {streams})")

    from refrain.evaluation import Cache, Dynamics
    from refrain.evaluation.measure import Method

    try:
        return [
            Method(
                name,
                Cache(**cache) if "cache" in name else None,
                Dynamics(**dynamic) if "dynamic" in name else None,
                steps or 5,
                streams or 1,
            )
            for name in names
        ]
    except ValueError as error:
        raise UserError(str(error)) from None


def _check(names: Sequence[MethodName], protocol: str, per_token: Path | None, search: int | None) -> None:
    from refrain.errors import UserError

    static, method = list(names) == ["static"], ", ".join(names)
    if not static and protocol != "exact":
        raise UserError(f"--method {method} goes with --protocol exact (got {protocol!r})")
    if per_token is not None and (protocol != "exact" or not static):
        raise UserError(f"--per-token goes with --protocol exact and --method static (got {protocol!r}, {method!r})")
    if per_token is not None and (per_token.is_dir() or not per_token.parent.is_dir()):
        raise UserError(f"--per-token must be a file in a folder that exists (got {str(per_token)!r})")
    if search is not None and search < 1:
        raise UserError(f"--search must be at least 1 (got {search})")
    if search is not None and static:
        raise UserError("--search cannot take effect with --method static")


def _report_all(place: dict[str, Any], unseen: dict[str, int], figures: dict[str, dict[str, Any]], json: bool) -> None:
    if len(figures) > 1:
        _report_several(place | unseen, figures, json)
        return
    ((name, figure),) = figures.items()
    _report(place | {"method": name} | unseen | figure, json)


def _report(found: dict[str, Any], json: bool) -> None:
    from .output import print_json

    if json:
        print_json(found)
        return
    for key, value in found.items():
        print(f"{key:{max(map(len, found))}}  {_shown(key, value)}")


def _report_several(place: dict[str, Any], figures: dict[str, dict[str, Any]], json: bool) -> None:
    """A row for each method, under the names of the figures; the settings of a method stand in its last column."""
    from .output import print_json, table

    if json:
        print_json(place | {"figures": figures})
        return
    same = ("split", "protocol")
    _report({key: value for key, value in place.items() if key not in same}, json)
    columns = ["tokens", *(key for key in FIGURES if key in next(iter(figures.values()))), "tokens_per_second"]
    rows = [["method", *same, *columns, "settings"]]
    for name, figure in figures.items():
        settings = ", ".join(f"{key} {value:g}" for key, value in figure.items() if key not in columns)
        rows.append([name, *(place[key] for key in same), *(_shown(key, figure[key]) for key in columns), settings])
    print()
    print(table(rows))


def _shown(key: str, value: Any) -> str:
    return f"{value:,.4f}" if key in FIGURES else f"{value:,}" if isinstance(value, int) else f"{value}"
