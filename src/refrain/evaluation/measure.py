"""Evaluating a model by any method, and searching the settings of a method on the validation text."""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refrain.data import TokenSource, Vocabulary, Windows
from refrain.evaluation import (
    Figure,
    GradientStatistics,
    evaluate,
    evaluate_dynamically,
    evaluate_with_cache,
    gather_statistics,
    protocol_windows,
)
from refrain.evaluation.dynamic import dynamic_nats
from refrain.evaluation.longest_match import LongestMatch
from refrain.evaluation.methods import Method
from refrain.evaluation.neural_cache import model_chunks, stream_cached_nats
from refrain.models import Network, evaluating
from refrain.models.protocol import part_of
from refrain.progress import Track, untracked

from .perplexity import WHAT, Tally, stream_nats

FLATNESS = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
SHARES = (0.05, 0.1, 0.15, 0.2, 0.3)
RATES = (3e-5, 4e-5, 5e-5, 6e-5, 7e-5, 1e-4)
DECAYS = (1e-3, 2e-3, 3e-3, 5e-3)
STATISTICS_BATCH = 100
KEPT_NUMBERS = 200_000_000


def statistics_of(model: Network, train: TokenSource, steps: int, *, track: Track = untracked) -> GradientStatistics:
    """The gradient statistics for dynamic evaluation, on all of a training text.

    Args:
        model: the trained model.
        train: the training text.
        steps: the steps of a window.
        track: reports the loop over the windows.

    Raises:
        DataError: when the text is too short.
    """
    batch_size = max(1, min(STATISTICS_BATCH, len(train) // (steps + 1)))
    predicted = len(train) // batch_size - 1
    # as in the authors' code, a last window of fewer steps counts as much as any other, and one of a single step is
    # left out
    tail: Literal["drop", "keep"] = "drop" if predicted > steps and predicted % steps == 1 else "keep"
    windows = Windows(train, batch_size=batch_size, window_steps=steps, tail=tail, name="split 'train'")
    return gather_statistics(model, windows, track=track)


def measure(
    model: Network,
    source: TokenSource,
    method: Method,
    statistics: GradientStatistics | None,
    *,
    name: str,
    vocabulary: Vocabulary | None = None,
    matches: LongestMatch | None = None,
    track: Track = untracked,
) -> Figure:
    """The nats and the number of tokens of a text by a method; the first token of each stream is not scored.

    Args:
        model: the trained model, whose weights are restored at the end.
        source: the text.
        method: the method with its settings.
        statistics: the gradient statistics, for dynamic methods.
        name: the name of the text, for messages.
        vocabulary: see `evaluate`.
        matches: the result of `fit_matches`, for methods with matches.
        track: reports the loop over the text.

    Raises:
        ValueError: when a dynamic method is used without statistics, or one with matches without these.
    """
    if method.match is not None:
        if matches is None:
            raise ValueError("the mixture with matches has to be fitted first; see fit_matches")
        targets, nats = _nats_of(model, source, method, statistics, name, track)
        tally = Tally(vocabulary)
        tally.add(targets, torch.from_numpy(matches.nats(source, nats, track=track)))
        return tally.figure()
    if method.dynamics is None:
        windows = protocol_windows(source, "exact", split=name, window_steps=0, name=name)
        if method.cache is None:
            return evaluate(model, windows, vocabulary, track=track)
        return evaluate_with_cache(model, windows, method.cache, vocabulary=vocabulary, track=track)
    statistics = _given(statistics)
    windows = Windows(
        source, batch_size=method.streams, window_steps=method.steps, tail="keep", name=name, batch_name="streams"
    )
    return evaluate_dynamically(
        model, windows, statistics, method.dynamics, cache=method.cache, vocabulary=vocabulary, track=track
    )


def fit_matches(
    model: Network,
    train: TokenSource,
    valid: TokenSource,
    method: Method,
    statistics: GradientStatistics | None,
    *,
    track: Track = untracked,
) -> LongestMatch:
    """The mixture of a method with the longest matches, with weights that are chosen on the validation text.

    Args:
        model: the trained model, whose weights are restored at the end.
        train: the training text, from which is copied if the method says so.
        valid: the validation text.
        method: a method with settings of matches; the model is measured on the validation text by the rest of it.
        statistics: the gradient statistics, for dynamic methods.
        track: reports the loops over the texts.

    Raises:
        ValueError: when the method has no matches, or statistics are missing.
    """
    if method.match is None:
        raise ValueError(f"the method {method.name} has no matches")
    _, nats = _nats_of(model, valid, method, statistics, "split 'valid'", track)
    matches = LongestMatch(method.match, train if method.match.source == "train" else None)
    matches.fit(valid, nats, track=track)
    return matches


def _nats_of(
    model: Network,
    source: TokenSource,
    method: Method,
    statistics: GradientStatistics | None,
    name: str,
    track: Track,
) -> tuple[Tensor, NDArray[np.float64]]:
    """The targets of a text and their nats by the model alone, static or dynamic."""
    if method.dynamics is None:
        windows = protocol_windows(source, "exact", split=name, window_steps=0, name=name)
        found = stream_nats(model, windows, track=track)
    else:
        # the nats of each token come out of the parts of the model
        for part in ("hidden", "head"):
            part_of(model, part, "the longest match")
        windows = Windows(source, batch_size=1, window_steps=method.steps, tail="keep", name=name)
        found = dynamic_nats(model, windows, _given(statistics), method.dynamics, track=track)
    parts = [(targets[:, 0].cpu(), nats[:, 0].double().cpu()) for targets, nats in found]
    targets, nats = (torch.cat(part) for part in zip(*parts, strict=True))
    return targets, nats.numpy()


def _given(statistics: GradientStatistics | None) -> GradientStatistics:
    if statistics is None:
        raise ValueError("dynamic evaluation needs gradient statistics of the training text; see statistics_of")
    return statistics


def search(
    model: Network,
    valid: TokenSource,
    method: Method,
    statistics: GradientStatistics | None,
    *,
    budget: int,
    log: Callable[[str], None],
    track: Track = untracked,
) -> Method:
    """The best of `budget` settings on the validation text: the given ones, then others in a fixed random order.

    Args:
        model: the trained model, whose weights are restored at the end.
        valid: the validation text, in the ids of the model.
        method: the settings to begin with; its steps, its streams and the window of its cache are not searched.
        statistics: the gradient statistics, for dynamic methods.
        budget: the number of settings to try.
        log: called with a line of text for each setting.
        track: reports each loop over the text.
    """
    chunks: list[tuple[Tensor, Tensor, Tensor]] = []
    if method.dynamics is None and method.cache is not None and len(valid) * _width(model) <= KEPT_NUMBERS:
        # the outputs of the model are the same for every cache, and those of this text fit into memory
        windows = protocol_windows(valid, "exact", split="valid", window_steps=0)
        chunks = list(model_chunks(model, windows, track=track))
    best: tuple[float, Method] | None = None
    for candidate in _candidates(method, budget):
        if chunks and candidate.cache is not None:
            parts = stream_cached_nats(track(chunks, WHAT, len(chunks)), candidate.cache)
            nats = sum(float(part.double().sum()) for part in parts)
            figure = Figure(nats, len(valid) - 1)
        else:
            figure = measure(model, valid, candidate, statistics, name="split 'valid'", track=track)
        settings = "  ".join(f"{name} {value:g}" for name, value in candidate.document().items())
        log(f"validation perplexity {figure.perplexity:,.3f}  {settings}")
        # settings that diverge are the worst
        nats_per_token = math.inf if math.isnan(figure.nats_per_token) else figure.nats_per_token
        if best is None or nats_per_token < best[0]:
            best = (nats_per_token, candidate)
    assert best is not None
    return best[1]


def _width(model: Network) -> int:
    hidden = part_of(model, "hidden", "the neural cache")
    device = next(model.parameters()).device
    with torch.no_grad(), evaluating(model):
        outputs, _ = hidden(torch.zeros(1, 1, dtype=torch.int64, device=device), model.initial_state(1))
    return int(outputs.raw.shape[-1])


def _candidates(method: Method, budget: int) -> Iterator[Method]:
    caches = [method.cache]
    if method.cache is not None:
        caches = [
            replace(method.cache, flatness=flatness, share=share) for flatness, share in product(FLATNESS, SHARES)
        ]
    dynamics = [method.dynamics]
    if method.dynamics is not None:
        scale = method.steps / 5
        dynamics = [
            replace(method.dynamics, learning_rate=rate * scale, decay=decay * scale)
            for rate, decay in product(RATES, DECAYS)
        ]
    others = [replace(method, cache=cache, dynamics=dynamic) for cache, dynamic in product(caches, dynamics)]
    random.Random(1).shuffle(others)
    yield from [method, *(other for other in others if other != method)][:budget]
