"""The command `refrain bench`."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from .bench_compressors import bench_compressors
from .bench_sizes import bench_sizes
from .bench_table import table_of
from .bench_tag import bench_tag
from .options import Device, ForceOption, JsonOption

# bench -> the default recipe, whose model and settings are measured
BENCHES = {
    "train": "zaremba-small",
    "weight-drop": "awd-lstm-ptb",
    "cache": "zaremba-small",
    "cells": "mlstm-bytes-reference",
    "sparse": "sparse-awd-ptb",
    "step": "zaremba-large",
    "compress": "zaremba-large",
    "export": "zaremba-medium",
    "group-lasso": "zaremba-medium",
    "compressors": "mlstm-bytes",
    "sizes": "zaremba-small",
    "tag": "pos-default",
}
# bench -> the default hidden widths; export has no second model by default
WIDTHS = {"cells": "128,512", "compress": "373,315", "export": ""}
CPU_ONLY = ("step", "compress", "export")
# bench -> the unit of the work in a timed call; cells and sparse have fixed windows
UNITS = {
    "train": "windows",
    "weight-drop": "windows",
    "cache": "windows",
    "step": "tokens",
    "compress": "tokens",
    "export": "tokens",
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
    run: Annotated[list[Path] | None, Parameter(negative=())] = None,
    data: str | None = None,
    device: Device = "auto",
    plot: Path | None = None,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Measure speed on this machine in paired runs.

    train: training in each precision, compared with a plain PyTorch loop and with the matmuls alone.
    weight-drop: training with weight drop, compared with training without.
    cache: exact evaluation with a neural cache, compared with evaluation without.
    cells: forward and backward of a window by the layer's kernels, compared with autograd through each step.
    sparse: training and single steps of a sparse layer, compared with a dense layer and with its blocks one by one.
    step: one token at a time by the stepper, compared with torch's LSTM, the steps of the layers, and a single read of
    all weights.
    compress: a model with smaller hidden widths, compared with the full model, one token at a time and in windows.
    export: ONNX files in ONNX Runtime and compiled C code in float32 and int8, compared with the stepper, one token at
    a time. The code of a model with millions of weights takes minutes to compile.
    group-lasso: training with group lasso, compared with training without.
    tag: accuracy and training time of a tagger on one thread, compared with a conditional random field if
    sklearn-crfsuite is installed.
    sizes: bytes and perplexity of trained models in float32 and in int8, the first of them also with zeros by
    magnitude, without units, and with lower ranks, without any training; nothing is timed.
    The candidates are timed in turns. A ratio is the median of the ratios of all pairs.

    compressors: the bits per byte of trained models of bytes on a test text, beside xz, bzip2 and zstd. Compressors are
    measured by what the test text adds to the compressed training text, and on the test text alone. Nothing is timed in
    turns; the seconds are those of the training and of one compression.

    Parameters
    ----------
    name
        The bench: train, weight-drop, cache, cells, sparse, step, compress, export, group-lasso, compressors, sizes
        or tag.
    settings
        Settings that change the recipe, such as model.hidden_sizes=[650,650]; for cells only model.cell and
        training.seed count, for compressors only those of data, for sparse none.
    recipe
        The recipe whose model and training settings are measured; not for sparse.
    windows
        The number of windows in a timed call, or of single tokens for step, compress and export (20); not for
        cells, sparse and tag.
    repeats
        The number of timed calls of each candidate, or of seeds for tag.
    cache_window
        The window of the cache (2000); for cache only.
    widths
        The hidden widths of the smaller model for compress (373,315), of a second model for export (none), or of
        the layers for cells (128,512).
    run
        A run folder, or one of its checkpoints, for sizes; of a model of bytes for compressors. Can be given several
        times.
    data
        The corpus: for compressors a folder of splits, a file, a pattern or a name, by default that of the first run or
        else of the recipe; for tag tagged sentences, by default those of the recipe;
        for sizes as for evaluate.
    device
        The device to measure on. auto: a GPU if there is one, otherwise the CPU. step, compress, export and tag
        run on CPUs only.
    plot
        A file for a picture of the ratios and their spread: FILE.png or FILE.svg. Needs the extra `plot`.
        Not for compressors, sizes and tag.
    """
    from .output import log, log_written, print_json

    _check_name(name)
    idle = _idle(name, run=run, data=data, plot=plot, force=force)
    more: dict[str, Any] = {"recipe": recipe, "windows": windows, "cache_window": cache_window, "widths": widths}
    _refuse_idle(name, settings, idle, **more)
    if name == "sizes":
        return bench_sizes(run or [], data, json=json)
    if name == "tag":
        return bench_tag(recipe or BENCHES[name], settings, data, repeats, device, json=json)
    windows, cache_window = _amounts(windows, repeats, cache_window)
    sizes = _widths(name, widths)
    recipe = recipe or BENCHES[name]
    _check_plot(plot, recipe, force=force)
    experiment = _experiment(recipe, settings)
    if name == "compressors":
        bench_compressors(experiment, run or [], data, device, json=json)
        return

    import torch

    from refrain.pictures import bench_picture
    from refrain.progress import reporter, timing_reports
    from refrain.storage.output_files import write_files

    where = _device(name, device)
    threads = torch.get_num_threads()
    machine = (
        torch.cuda.get_device_name(where) if where.type == "cuda" else f"a CPU, {threads} thread{'s' * (threads > 1)}"
    )
    amount = f" of {windows} {UNITS[name]}" if name in UNITS else ""
    log(f"{'' if name == 'sparse' else recipe + ': '}{repeats} repeat{'s' * (repeats > 1)}{amount} on {machine}")
    with timing_reports(reporter()).step(f"measuring {name}, in turns"):
        rows = _measure(name, experiment, where, sizes, windows=windows, repeats=repeats, cache_window=cache_window)
    if plot is not None:
        title = f"refrain bench {name}, {recipe}: {repeats} repeats, {machine}"
        picture = bench_picture(rows, title, file_format="svg" if plot.suffix == ".svg" else "png")
        write_files([(plot, picture)], force=force)
        log_written(plot)
    if json:
        print_json({"bench": name, "recipe": recipe, "device": machine, "threads": threads, "rows": rows})
        return
    print(table_of(rows))


def _idle(name: str, *, run: list[Path] | None, data: str | None, plot: Path | None, force: bool) -> dict[str, bool]:
    """Options that only some benches have, and whether they are given to one that has not."""
    no_plot = name in ("compressors", "sizes", "tag")
    return {
        "--run": bool(run) and name not in ("compressors", "sizes"),
        "--data": data is not None and not no_plot,
        "--plot": plot is not None and no_plot,
        "--force": force and name in ("sizes", "tag"),
    }


def _check_plot(plot: Path | None, recipe: str, *, force: bool) -> None:
    from refrain.errors import UserError

    from .output import check_picture

    if plot is not None:
        check_picture("--plot", plot, (".png", ".svg"), [recipe], force=force)
    elif force:
        raise UserError("--force cannot take effect without --plot")


def _amounts(windows: int | None, repeats: int, cache_window: int | None) -> tuple[int, int]:
    """The windows of a timed call and of a cache, with their defaults."""
    from refrain.errors import UserError

    found = (20 if windows is None else windows, 2000 if cache_window is None else cache_window)
    if min(*found, repeats) < 1:
        raise UserError(
            f"--windows, --repeats and --cache-window must be at least 1 (got {found[0]}, {repeats} and {found[1]})"
        )
    return found


def _experiment(recipe: str, settings: tuple[str, ...]) -> Any:
    from refrain.config import TaggerExperiment, resolve
    from refrain.errors import UserError
    from refrain.recipes import RECIPES

    from .output import log

    for word in settings:
        if word in RECIPES:
            raise UserError(f"give the recipe as an option: --recipe {word}")
    experiment = resolve(recipe, settings, RECIPES, log=log)
    if isinstance(experiment, TaggerExperiment):
        raise UserError(f"{recipe} is a tagger, but the benches measure language models; choose another recipe")
    return experiment


def _measure(
    name: str, experiment: Any, where: Any, sizes: tuple[int, ...], *, windows: int, repeats: int, cache_window: int
) -> list[dict[str, Any]]:
    from refrain import bench as benches

    from .output import log

    common: dict[str, Any] = {"repeats": repeats, "device": where}
    measures: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "train": lambda: benches.bench_train(experiment, windows=windows, **common),
        "weight-drop": lambda: benches.bench_weight_drop(experiment, windows=windows, **common),
        "cache": lambda: benches.bench_cache(experiment, tokens=512 * windows, cache_window=cache_window, **common),
        "cells": lambda: benches.bench_cells(experiment, widths=sizes, **common),
        "sparse": lambda: benches.bench_sparse(**common),
        "step": lambda: benches.bench_step(experiment, tokens=windows, repeats=repeats),
        "compress": lambda: benches.bench_compress(experiment, hidden_sizes=sizes, tokens=windows, repeats=repeats),
        "export": lambda: benches.bench_export(
            experiment, hidden_sizes=sizes or None, tokens=windows, repeats=repeats, log=log
        ),
        "group-lasso": lambda: benches.bench_group_lasso(experiment, windows=windows, **common),
    }
    return measures[name]()


def _check_name(name: str) -> None:
    from refrain.errors import UserError, nearest

    if name not in BENCHES:
        raise UserError(f"unknown bench {name!r}{nearest(name, BENCHES)}; known: {', '.join(BENCHES)}")


def _refuse_idle(
    name: str,
    settings: tuple[str, ...],
    idle: dict[str, bool],
    *,
    recipe: str | None,
    widths: str | None,
    **amounts: int | None,
) -> None:
    """Refuse options and settings that cannot take effect in a bench, and those that `idle` names already."""
    from refrain.errors import UserError

    idle["--widths"] = widths is not None and name not in WIDTHS
    idle["--windows"] = amounts["windows"] is not None and name not in UNITS
    idle["--cache-window"] = amounts["cache_window"] is not None and name != "cache"
    idle["--recipe"] = recipe is not None and name in ("sparse", "sizes")
    for word in settings:
        key = word.partition("=")[0]
        idle[key] = (
            name in ("sparse", "sizes")
            or (name == "cells" and key not in ("model.cell", "training.seed"))
            or (name == "compressors" and not key.startswith("data."))
        )
    if found := [option for option, given in idle.items() if given]:
        raise UserError(f"{', '.join(found)} cannot take effect in bench {name}; see refrain bench --help")


def _widths(name: str, widths: str | None) -> tuple[int, ...]:
    from refrain.errors import UserError

    words = widths or WIDTHS.get(name, "1")
    if not words:
        return ()
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", words):
        raise UserError(f"--widths must be whole numbers separated by commas, as in 373,315 (got {widths!r})")
    return tuple(int(width) for width in words.split(","))


def _device(name: str, device: str) -> Any:
    from refrain.assembly import build_device
    from refrain.errors import UserError

    if name in CPU_ONLY and device == "cuda":
        raise UserError(f"bench {name} measures the stepper, which runs on CPUs only; use --device cpu")
    return build_device("cpu" if name in CPU_ONLY else device)
