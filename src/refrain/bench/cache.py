"""The cost of a neural cache in evaluation."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from refrain.assembly import build_model
from refrain.config import Experiment
from refrain.data import TokenFile, Windows
from refrain.evaluation import Cache, evaluate, evaluate_with_cache

from .limits import limit_rows, limits, matrix_entries, share_of_limit
from .timing import interleaved, rows_against
from .train import VOCABULARY


def bench_cache(
    experiment: Experiment, *, tokens: int, repeats: int, cache_window: int, device: torch.device
) -> list[dict[str, Any]]:
    """Measure the tokens per second of exact evaluation without and with a neural cache, in turns.

    Args:
        experiment: its model settings are used.
        tokens: the number of tokens that a timed call scores.
        repeats: the number of timed calls of each candidate.
        cache_window: the number of hidden states in the cache.
        device: the device to measure on.

    Returns:
        A row for each candidate and each limit.
    """
    torch.manual_seed(experiment.training.seed)
    model = build_model(experiment.model, VOCABULARY).to(device)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ids.bin"
        ids = np.random.default_rng(1).integers(0, VOCABULARY, tokens + 1, dtype=np.uint16)
        path.write_bytes(ids.tobytes())
        text = Windows(TokenFile(path, np.uint16), batch_size=1, window_steps=512, tail="keep")
        seconds = interleaved(
            {
                "exact": lambda: _ignore(evaluate(model, text)),
                f"with a cache of {cache_window:,}": lambda: _ignore(
                    evaluate_with_cache(model, text, Cache(window=cache_window))
                ),
                **limits(device),
            },
            repeats=repeats,
        )
    rows = rows_against("exact", {name: seconds[name] for name in list(seconds)[:2]}, tokens, "tokens/s")
    for line in rows:
        flops = 2 * tokens * matrix_entries(model.stack, model.head)
        line["of_limit"] = share_of_limit(seconds, line["name"], flops, "float32", device)
    return rows + limit_rows(seconds, device)


def _ignore(value: object) -> None:
    """Discard a result: the perplexity of random text means nothing."""
