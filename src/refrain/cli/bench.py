"""`refrain bench`."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

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
# hidden widths where none are named
WIDTHS = {"cells": "128,512", "compress": "373,315"}
ON_PROCESSORS = ("step", "compress")
# what a timed call goes through; cells and sparse have windows of their own
UNITS = {
    "train": "windows",
    "weight-drop": "windows",
    "cache": "windows",
    "step": "tokens",
    "compress": "tokens",
    "group-lasso": "windows",
}


def bench(
    name: str,
    /,
    *settings: str,
    recipe: str | None = None,
    windows: int | None = None,
    repeats: int = 7,
    cache_window: int | None = None,
    widths: str | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    plot: Path | None = None,
    force: Annotated[bool, Parameter(negative=())] = False,
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
        Settings that change the recipe, such as model.hidden_sizes=[650,650]; for cells only model.cell and
        training.seed count, for sparse none.
    recipe
        Whose model and training settings are measured; not for sparse.
    windows
        Windows in a timed call, 20 if not given; for step and compress as many single tokens; not for cells and sparse.
    repeats
        Timed calls of each candidate; they take turns.
    cache_window
        Window of the cache (cache; 2000 if not given).
    widths
        Hidden widths of the smaller model (compress; 373,315 if not given), or of the layers (cells; 128,512).
    device
        Where to measure; auto takes a GPU where there is one. step and compress are for processors.
    plot
        Also draw the ratios and their spread: FILE.png or FILE.svg. Needs the extra `plot`.
    force
        Replace a file that stands at --plot.
    json
        Print one JSON object.
    """
    from refrain.errors import UserError

    from .output import print_json

    _check_name(name)
    _refuse_idle(name, settings, recipe=recipe, windows=windows, cache_window=cache_window, widths=widths)
    windows, cache_window = 20 if windows is None else windows, 2000 if cache_window is None else cache_window
    if min(windows, repeats, cache_window) < 1:
        raise UserError(
            f"--windows, --repeats and --cache-window must be at least 1 (got {windows}, {repeats} and {cache_window})"
        )
    _check_plot(plot, force)
    sizes = _widths(name, widths)
    recipe = recipe or BENCHES[name]
    experiment = _experiment(recipe, settings)

    import torch

    from refrain.pictures import bench_picture
    from refrain.storage.checkpoint import write_atomically

    where, threads = _device(name, device), torch.get_num_threads()
    machine = (
        torch.cuda.get_device_name(where)
        if where.type == "cuda"
        else f"a processor, {threads} thread{'s' * (threads > 1)}"
    )
    amount = f" of {windows} {UNITS[name]}" if name in UNITS else ""
    print(
        f"{'' if name == 'sparse' else recipe + ': '}{repeats} repeat{'s' * (repeats > 1)}{amount} on {machine}",
        file=sys.stderr,
    )
    rows = _measure(name, experiment, where, sizes, windows=windows, repeats=repeats, cache_window=cache_window)
    if plot is not None:
        title = f"refrain bench {name}, {recipe}: {repeats} repeats, {machine}"
        write_atomically(plot, bench_picture(rows, title, file_format="svg" if plot.suffix == ".svg" else "png"))
    if json:
        print_json({"bench": name, "recipe": recipe, "device": machine, "threads": threads, "rows": rows})
        return
    print(_table(rows))


def _experiment(recipe: str, settings: tuple[str, ...]) -> Any:
    from refrain.config import TaggerExperiment
    from refrain.errors import UserError
    from refrain.recipes import RECIPES
    from refrain.recipes import recipe as build_recipe

    for word in settings:
        if word in RECIPES:
            raise UserError(f"a recipe is named by an option: --recipe {word}")
    experiment = build_recipe(recipe, *settings)
    if isinstance(experiment, TaggerExperiment):
        raise UserError(f"{recipe}: is a tagger, and the benches measure language models; choose another recipe")
    return experiment


def _measure(
    name: str, experiment: Any, where: Any, sizes: tuple[int, ...], *, windows: int, repeats: int, cache_window: int
) -> list[dict[str, Any]]:
    from refrain import bench as benches

    common: dict[str, Any] = {"repeats": repeats, "device": where}
    measures: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "train": lambda: benches.bench_train(experiment, windows=windows, **common),
        "weight-drop": lambda: benches.bench_weight_drop(experiment, windows=windows, **common),
        "cache": lambda: benches.bench_cache(experiment, tokens=512 * windows, cache_window=cache_window, **common),
        "cells": lambda: benches.bench_cells(experiment, widths=sizes, **common),
        "sparse": lambda: benches.bench_sparse(**common),
        "step": lambda: benches.bench_step(experiment, tokens=windows, repeats=repeats),
        "compress": lambda: benches.bench_compress(experiment, hidden_sizes=sizes, tokens=windows, repeats=repeats),
        "group-lasso": lambda: benches.bench_group_lasso(experiment, windows=windows, **common),
    }
    return measures[name]()


def _check_name(name: str) -> None:
    from refrain.config.mistakes import nearest
    from refrain.errors import UserError

    if name not in BENCHES:
        raise UserError(f"unknown bench {name!r}{nearest(name, BENCHES)}; known: {', '.join(BENCHES)}")


def _refuse_idle(
    name: str, settings: tuple[str, ...], *, recipe: str | None, widths: str | None, **amounts: int | None
) -> None:
    """Refuse what cannot take effect in a bench."""
    from refrain.errors import UserError

    idle = {"--widths": widths is not None and name not in WIDTHS}
    idle["--windows"] = amounts["windows"] is not None and name not in UNITS
    idle["--cache-window"] = amounts["cache_window"] is not None and name != "cache"
    idle["--recipe"] = recipe is not None and name == "sparse"
    for word in settings:
        key = word.partition("=")[0]
        idle[key] = name == "sparse" or (name == "cells" and key not in ("model.cell", "training.seed"))
    if found := [option for option, given in idle.items() if given]:
        raise UserError(f"{', '.join(found)} cannot take effect in bench {name}; see refrain bench --help")


def _widths(name: str, widths: str | None) -> tuple[int, ...]:
    from refrain.errors import UserError

    words = widths or WIDTHS.get(name, "1")
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", words):
        raise UserError(f"--widths must be whole numbers with commas between, as in 373,315 (got {widths!r})")
    return tuple(int(width) for width in words.split(","))


def _device(name: str, device: str) -> Any:
    from refrain.assembly import build_device
    from refrain.errors import UserError

    if name in ON_PROCESSORS and device == "cuda":
        raise UserError(f"bench {name} measures the stepper, which is for processors; use --device cpu")
    return build_device("cpu" if name in ON_PROCESSORS else device)


def _check_plot(plot: Path | None, force: bool) -> None:
    """Refuse a picture that could not be drawn or written, before anything is measured."""
    from refrain.errors import UserError
    from refrain.pictures import check_matplotlib

    from .texts import refuse_to_overwrite

    if plot is None:
        if force:
            raise UserError("--force cannot take effect without --plot")
        return
    if plot.suffix not in (".png", ".svg"):
        raise UserError(f"--plot must end in .png or .svg (got {plot.name!r})")
    refuse_to_overwrite([plot], force=force, option="--plot")
    check_matplotlib()


def _table(rows: list[dict[str, Any]]) -> str:
    from refrain.pictures.bench import SHARES

    from .output import table

    shares = {key: title for key, title in SHARES.items() if any(key in row for row in rows)}
    lines = [["", "median", "low", "high", "", "ratio", *shares.values()]]
    for row in rows:
        figures = [f"{row[key]:,.0f}" for key in ("median", "low", "high")]
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        parts = [f"{row[key]:.0%}" if key in row else "" for key in shares]
        lines.append([row["name"], *figures, row["unit"], ratio, *parts])
    return table(lines)
