"""`refrain bench`."""

import re
import sys
from collections.abc import Callable
from typing import Annotated, Any

from cyclopts import Parameter

# the recipe whose model and settings are measured where none is named
BENCHES = {
    "train": "zaremba-small",
    "weight-drop": "awd-lstm-ptb",
    "cache": "zaremba-small",
    "cells": "mlstm-bytes",
    "sparse": "sparse-awd-ptb",
    "step": "zaremba-large",
    "compress": "zaremba-large",
    "group-lasso": "zaremba-medium",
}
# parts of what the machine reaches at most, and their columns
SHARES = {"of_limit": "of the limit", "of_reading": "of reading", "of_copy": "of copying"}


def bench(
    name: str,
    /,
    *settings: str,
    recipe: str | None = None,
    windows: int = 20,
    repeats: int = 7,
    cache_window: int = 2000,
    widths: str = "373,315",
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Paired measurements of speed on this machine.

    train: tokens per second of training in each precision, against the same model in a plain PyTorch loop and against
    the rate that the machine reaches on matrix products alone.
    weight-drop: training with weight drop against training without.
    cache: exact evaluation with a neural cache against evaluation without.
    cells: forward and backward of a window, step by step under autograd against the layer's own window and kernels.
    sparse: a sparse layer against the dense one of its widths and against its blocks in turn, training and one step.
    step: one token at a time, by the stepper against torch's LSTM, the layers' own steps and reading the weights once.
    compress: a model against one with smaller hidden widths, one token at a time and in windows.
    group-lasso: training with group lasso against training without.
    Candidates take turns in one run; a ratio is the median of the ratios pair by pair.

    Parameters
    ----------
    name
        Which measurement: train, weight-drop, cache, cells, sparse, step, compress or group-lasso.
    settings
        Settings that change the recipe, such as model.hidden_sizes=[650,650].
    recipe
        Whose model and training settings are measured.
    windows
        Windows in a timed call; for step and compress as many single tokens.
    repeats
        Timed calls of each candidate; they take turns.
    cache_window
        Window of the cache.
    widths
        Hidden widths of the smaller model (compress).
    json
        Print one JSON object.
    """
    from refrain.config import TaggerExperiment
    from refrain.errors import UserError
    from refrain.recipes import recipe as build_recipe

    from .output import print_json

    if name not in BENCHES:
        raise UserError(f"unknown bench {name!r}; known: {', '.join(BENCHES)}")
    if min(windows, repeats, cache_window) < 1:
        raise UserError(
            f"--windows, --repeats and --cache-window must be at least 1 (got {windows}, {repeats} and {cache_window})"
        )
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", widths):
        raise UserError(f"--widths must be whole numbers with commas between, as in 373,315 (got {widths!r})")
    recipe = recipe or BENCHES[name]
    experiment = build_recipe(recipe, *settings)
    if isinstance(experiment, TaggerExperiment):
        raise UserError(f"{recipe}: is a tagger, and the benches measure language models; choose another recipe")

    import torch

    from refrain import bench as benches

    threads = torch.get_num_threads()
    print(f"{recipe}: {repeats} repeats of {windows} windows, {threads} threads", file=sys.stderr)
    sizes = tuple(int(width) for width in widths.split(","))
    measure: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "train": lambda: benches.bench_train(experiment, windows=windows, repeats=repeats),
        "weight-drop": lambda: benches.bench_weight_drop(experiment, windows=windows, repeats=repeats),
        "cache": lambda: benches.bench_cache(
            experiment, tokens=512 * windows, repeats=repeats, cache_window=cache_window
        ),
        "cells": lambda: benches.bench_cells(experiment, repeats=repeats),
        "sparse": lambda: benches.bench_sparse(repeats=repeats),
        "step": lambda: benches.bench_step(experiment, tokens=windows, repeats=repeats),
        "compress": lambda: benches.bench_compress(experiment, hidden_sizes=sizes, tokens=windows, repeats=repeats),
        "group-lasso": lambda: benches.bench_group_lasso(experiment, windows=windows, repeats=repeats),
    }
    rows = measure[name]()
    if json:
        print_json({"bench": name, "recipe": recipe, "threads": threads, "rows": rows})
        return
    print(_table(rows))


def _table(rows: list[dict[str, Any]]) -> str:
    from .output import table

    shares = {key: title for key, title in SHARES.items() if any(key in row for row in rows)}
    lines = [["", "median", "low", "high", "", "ratio", *shares.values()]]
    for row in rows:
        figures = [f"{row[key]:,.0f}" for key in ("median", "low", "high")]
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        parts = [f"{row[key]:.0%}" if key in row else "" for key in shares]
        lines.append([row["name"], *figures, row["unit"], ratio, *parts])
    return table(lines)
