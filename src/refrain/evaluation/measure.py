"""Evaluating a model by any method, and searching the settings of a method on the validation text."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product

import torch
from torch import Tensor

from refrain.data import TokenSource, Windows
from refrain.evaluation import (
    Figure,
    GradientStatistics,
    evaluate,
    evaluate_dynamically,
    evaluate_with_cache,
    gather_statistics,
    protocol_windows,
)
from refrain.evaluation.methods import Method
from refrain.evaluation.neural_cache import model_chunks, stream_cached_nats
from refrain.models import Network, evaluating
from refrain.models.protocol import part_of
from refrain.progress import Track, untracked

from .perplexity import WHAT

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
    windows = Windows(train, batch_size=batch_size, window_steps=steps, name="split 'train'")
    return gather_statistics(model, windows, track=track)


def measure(
    model: Network,
    source: TokenSource,
    method: Method,
    statistics: GradientStatistics | None,
    *,
    name: str,
    track: Track = untracked,
) -> Figure:
    """The nats and the number of tokens of a text by a method; the first token of each stream is not scored.

    Args:
        model: the trained model, whose weights are restored at the end.
        source: the text.
        method: the method with its settings.
        statistics: the gradient statistics, for dynamic methods.
        name: the name of the text, for messages.
        track: reports the loop over the text.

    Raises:
        ValueError: when a dynamic method is used without statistics.
    """
    if method.dynamics is None:
        windows = protocol_windows(source, "exact", split=name, window_steps=0, name=name)
        if method.cache is None:
            return evaluate(model, windows, track=track)
        return evaluate_with_cache(model, windows, method.cache, track=track)
    if statistics is None:
        raise ValueError("dynamic evaluation needs gradient statistics of the training text; see statistics_of")
    windows = Windows(source, batch_size=method.streams, window_steps=method.steps, tail="keep", name=name)
    return evaluate_dynamically(model, windows, statistics, method.dynamics, cache=method.cache, track=track)


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
        if best is None or figure.nats_per_token < best[0]:
            best = (figure.nats_per_token, candidate)
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
