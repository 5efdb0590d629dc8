"""`refrain evaluate`."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from refrain.build.measure import Method
    from refrain.data import Corpus, TokenFile
    from refrain.trained import TrainedLanguageModel

FIGURES = ("nats_per_token", "bits_per_token", "bits_per_byte", "perplexity")
MethodName = Literal["static", "cache", "dynamic", "dynamic+cache"]


def evaluate(
    run: Path,
    /,
    *,
    data: Path | None = None,
    split: Literal["train", "valid", "test"] | None = None,
    protocol: Literal["exact", "zaremba", "awd"] = "exact",
    method: MethodName = "static",
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
    errors: Literal["strict", "replace"] = "strict",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Perplexity and other figures of a trained model.

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
        static: the weights stay as they are. cache: a neural cache of recent words is mixed in. dynamic: the weights
        follow the text. Figures of different methods do not compare as models do: cache and dynamic see the text.
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
    errors
        What invalid UTF-8 does: stop (strict) or become U+FFFD (replace).
    device
        Where to compute.
    json
        Print the figures as one JSON object.
    """
    cache = {"window": cache_window, "flatness": cache_flatness, "share": cache_share}
    dynamic = {"learning_rate": dynamic_rate, "decay": dynamic_decay, "epsilon": dynamic_epsilon}
    _check(method, protocol, per_token, search)
    chosen = _method(method, cache, dynamic, dynamic_steps, streams)

    from refrain import build
    from refrain.config import Data
    from refrain.data import WordVocabulary
    from refrain.errors import UserError

    lm = build.load(run, device=device)
    vocabulary = lm.vocabulary if isinstance(lm.vocabulary, WordVocabulary) else None
    if vocabulary is None and errors != "strict":
        raise UserError("--errors cannot take effect with a model of bytes")
    settings = Data.model_validate(lm.config["data"])
    if data is None:
        split = split or "test"
    path = build.locate(settings.corpus if data is None else str(data), say)
    corpus, name = build.build_text(settings.model_copy(update={"errors": errors}), path, split, vocabulary, say)
    # the model's own text, in the ids that it was trained with
    own = {
        part: build.build_text(settings, build.locate(settings.corpus, say), part, vocabulary, say)[0]
        .splits[part]
        .tokens
        for part in ("train", "valid")
        if chosen.dynamics is not None or search is not None
    }
    figures = _measure(lm, corpus, name, own, chosen, protocol, search, per_token)
    found = {
        "run": str(run),
        "checkpoint": lm.folder.name,
        "corpus": corpus.name,
        "split": name,
        "protocol": protocol,
        "method": method,
    }
    _report(found | {"unseen": corpus.splits[name].unseen} | figures, json)


def say(line: str) -> None:
    """A line on standard error."""
    print(line, file=sys.stderr)


def _measure(
    lm: "TrainedLanguageModel",
    corpus: "Corpus",
    split: str,
    own: "dict[str, TokenFile]",
    method: "Method",
    protocol: Literal["exact", "zaremba", "awd"],
    search: int | None,
    per_token: Path | None,
) -> dict[str, Any]:
    """The figures of a model on a split; `own` holds the texts of its training, for statistics and search."""
    from refrain.build.measure import measure, statistics_of
    from refrain.build.measure import search as find_settings
    from refrain.evaluation import evaluate as measure_static
    from refrain.evaluation import protocol_windows, write_token_table

    statistics = None
    if method.dynamics is not None:
        say("gathering gradient statistics on the training text")
        statistics = statistics_of(lm.model, own["train"], method.steps, say)
    if search is not None:
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
    return {
        **method.document(),
        **figure.document(corpus.vocabulary.unit),
        "tokens_per_second": round(figure.tokens / seconds, 1),
    }


def _method(
    name: MethodName,
    cache: dict[str, Any],
    dynamic: dict[str, Any],
    steps: int | None,
    streams: int | None,
) -> "Method":
    """The method with the options that were given."""
    from refrain.errors import UserError

    cache = {key: value for key, value in cache.items() if value is not None}
    dynamic = {key: value for key, value in dynamic.items() if value is not None}
    if cache and "cache" not in name:
        raise UserError(f"--cache-{next(iter(cache))} cannot take effect with --method {name}")
    if (dynamic or steps or streams) and "dynamic" not in name:
        raise UserError(f"settings of dynamic evaluation cannot take effect with --method {name}")
    for option, value in (("--dynamic-steps", steps), ("--streams", streams)):
        if value is not None and value < 1:
            raise UserError(f"{option} must be at least 1 (got {value})")
    if name == "dynamic+cache" and (streams or 1) > 1:
        raise UserError(f"--streams must be 1 with a cache (got {streams})")

    from refrain.build.measure import Method
    from refrain.evaluation import Cache, Dynamics

    try:
        return Method(
            name,
            Cache(**cache) if "cache" in name else None,
            Dynamics(**dynamic) if "dynamic" in name else None,
            steps or 5,
            streams or 1,
        )
    except ValueError as error:
        raise UserError(str(error)) from None


def _check(method: str, protocol: str, per_token: Path | None, search: int | None) -> None:
    from refrain.errors import UserError

    if method != "static" and protocol != "exact":
        raise UserError(f"--method {method} goes with --protocol exact (got {protocol!r})")
    if per_token is not None and (protocol != "exact" or method != "static"):
        raise UserError(f"--per-token goes with --protocol exact and --method static (got {protocol!r}, {method!r})")
    if per_token is not None and (per_token.is_dir() or not per_token.parent.is_dir()):
        raise UserError(f"--per-token must be a file in a folder that exists (got {str(per_token)!r})")
    if search is not None and search < 1:
        raise UserError(f"--search must be at least 1 (got {search})")
    if search is not None and method == "static":
        raise UserError("--search cannot take effect with --method static")


def _report(found: dict[str, Any], json: bool) -> None:
    from .output import print_json

    if json:
        print_json(found)
        return
    for key, value in found.items():
        shown = f"{value:,.4f}" if key in FIGURES else f"{value:,}" if isinstance(value, int) else f"{value}"
        print(f"{key:{max(map(len, found))}}  {shown}")
