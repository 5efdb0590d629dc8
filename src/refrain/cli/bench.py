"""The command `refrain bench`."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from .bench_auto import bench_auto
from .bench_compressors import bench_compressors
from .bench_options import BENCHES, CPU_ONLY, REPEATS, UNITS, amounts_of, check_name, idle_of, refuse_idle, widths_of
from .bench_parallel import bench_parallel
from .bench_prepare import bench_prepare
from .bench_score import bench_score
from .bench_serve import bench_serve
from .bench_sizes import bench_sizes
from .bench_table import table_of
from .bench_tag import bench_tag
from .options import Device, ForceOption, JsonOption


def bench(
    name: str,
    /,
    *settings: str,
    recipe: str | None = None,
    windows: int | None = None,
    repeats: int | None = None,
    cache_window: int | None = None,
    megabytes: int | None = None,
    widths: str | None = None,
    run: Annotated[list[Path] | None, Parameter(negative=())] = None,
    data: str | None = None,
    ngram: Path | None = None,
    processes: int | None = None,
    clients: int | None = None,
    seconds: float | None = None,
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
    score: lines and n-best lists on one thread, compared with single lines and with a plain PyTorch loop.
    sizes: bytes and perplexity of trained models in float32 and in int8, the first of them also with zeros by
    magnitude, without units, and with lower ranks, without any training; nothing is timed.
    parallel: training by several processes with a share of the cores each, compared with one of them, and what more
    processes would do on a network, which is computed and not measured.
    load: training by one thread and by all, alone and while another program keeps a core busy.
    serve: a server and many clients that send a word at a time, compared with one client that waits for each answer.
    prepare: words, characters or subwords prepared by one process and by data.workers (2), with the largest memory of
    all processes.
    auto: layers and heads of a grid of shapes by each backend, and what training.backend=auto chooses for them.
    The candidates are timed in turns. A ratio is the median of the ratios of all pairs.

    compressors: the bits per byte of trained models of bytes on a test text, beside xz, bzip2 and zstd. Each model is
    measured without adapting to the text and with the longest matches, which adapt to it like a compressor. Compressors
    are measured by what the test text adds to the compressed training text, and on the test text alone. Nothing is
    timed in turns; the seconds are those of the training and of one compression.

    Parameters
    ----------
    name
        The bench: train, weight-drop, cache, cells, sparse, step, compress, export, group-lasso, compressors, sizes,
        tag, score, parallel, prepare, auto, load or serve.
    settings
        Settings that change the recipe, such as model.hidden_sizes=[650,650]; for cells only model.cell and
        training.seed count, for compressors and prepare only those of data, for sparse and auto none.
    recipe
        The recipe whose model and training settings are measured; not for sparse, sizes, auto and serve.
    windows
        The number of windows in a timed call, of single tokens for step, compress and export (20), or of lines for
        score (1000); not for cells, sparse, tag, prepare and auto.
    repeats
        The number of timed calls of each candidate, or of seeds for tag (7); not for compressors, sizes and serve.
    cache_window
        The window of the cache (2000); for cache only.
    megabytes
        The size of the text that is made for prepare (100), in MB.
    widths
        The hidden widths of the smaller model for compress (373,315), of a second model for export (none), or of
        the layers for cells (128,512).
    run
        A run folder or a checkpoint: for compressors of models of bytes and for sizes, can be given several times; for
        score of a model of words, which is measured on its test text as well; the model for serve.
    data
        The corpus: for compressors a folder of splits, a file, a pattern or a name, by default that of the first run or
        else of the recipe; for tag tagged sentences, by default those of the recipe; for sizes as for evaluate; for
        prepare by default a text that is made.
    ngram
        An ARPA file or a binary file of KenLM to measure beside the run; for score only.
    processes
        The number of processes for parallel; one for each core by default.
    clients
        The number of clients for serve (64).
    seconds
        The time for which all clients of serve send (60).
    device
        The device to measure on. auto: a GPU if there is one, otherwise the CPU. step, compress, export, load, tag,
        score, sizes, parallel, prepare, auto and serve run on CPUs only.
    plot
        A file for a picture of the ratios and their spread: FILE.png or FILE.svg. Needs the extra `plot`.
        Not for compressors, sizes, tag, score, parallel, prepare, auto and serve.
    """
    check_name(name)
    more: Any = {"ngram": ngram, "processes": processes, "megabytes": megabytes, "clients": clients, "seconds": seconds}
    idle = idle_of(name, run=run, data=data, plot=plot, force=force, **more)
    given: dict[str, int | None] = {"windows": windows, "repeats": repeats, "cache_window": cache_window}
    refuse_idle(name, settings, idle, recipe=recipe, widths=widths, with_runs=bool(run), **given)
    recipe = recipe or BENCHES[name]
    repeats = REPEATS if repeats is None else repeats
    if name == "sizes":
        bench_sizes(run or [], data, device, json=json)
        return
    if name == "tag":
        bench_tag(recipe, settings, data, repeats, device, json=json)
        return
    if name == "score":
        bench_score(recipe, settings, windows, repeats, device, run or [], ngram, json=json)
        return
    if name == "serve":
        bench_serve(run or [], clients, seconds, device, json=json)
        return
    if name == "auto":
        bench_auto(repeats, device, json=json)
        return
    if name == "prepare":
        bench_prepare(recipe, settings, data, megabytes, repeats, device, json=json)
        return
    windows, cache_window = amounts_of(windows, repeats, cache_window)
    sizes = widths_of(name, widths)
    _check_plot(plot, recipe, force=force)
    experiment = _experiment(recipe, settings)
    if name == "compressors":
        bench_compressors(experiment, run or [], data, device, json=json)
        return
    if name == "parallel":
        bench_parallel(recipe, experiment, windows, repeats, processes, device, json=json)
        return
    amounts = {"windows": windows, "repeats": repeats, "cache_window": cache_window}
    _in_turns(name, recipe, experiment, sizes, amounts, device, plot, force=force, json=json)


def _in_turns(
    name: str,
    recipe: str,
    experiment: Any,
    sizes: tuple[int, ...],
    amounts: dict[str, int],
    device: str,
    plot: Path | None,
    *,
    force: bool,
    json: bool,
) -> None:
    """Time the candidates of a bench in turns, and print or draw their rates."""
    import torch

    from refrain.progress import reporter, timing_reports

    from .output import print_json

    where = _device(name, device)
    threads = torch.get_num_threads()
    machine = torch.cuda.get_device_name(where) if where.type == "cuda" else _cpu(threads)
    _log_start(name, recipe, amounts["repeats"], amounts["windows"], machine)
    with timing_reports(reporter()).step(f"measuring {name}, in turns"):
        rows = _measure(name, experiment, where, sizes, **amounts)
    if plot is not None:
        repeats = amounts["repeats"]
        title = f"refrain bench {name}, {recipe}: {repeats} repeat{'s' * (repeats > 1)}, {machine}"
        _draw(plot, rows, title, force=force)
    if json:
        print_json({"bench": name, "recipe": recipe, "device": machine, "threads": threads, "rows": rows})
    else:
        print(table_of(rows))


def _log_start(name: str, recipe: str, repeats: int, windows: int, machine: str) -> None:
    from .output import log

    amount = f" of {windows} {UNITS[name] if windows > 1 else UNITS[name].removesuffix('s')}" if name in UNITS else ""
    log(f"{'' if name == 'sparse' else recipe + ': '}{repeats} repeat{'s' * (repeats > 1)}{amount} on {machine}")


def _cpu(threads: int) -> str:
    return f"a CPU, {threads} thread{'s' * (threads > 1)}"


def _check_plot(plot: Path | None, recipe: str, *, force: bool) -> None:
    from refrain.errors import UserError

    from .output import check_picture

    if plot is not None:
        check_picture("--plot", plot, (".png", ".svg"), [recipe], force=force)
    elif force:
        raise UserError("--force cannot take effect without --plot")


def _draw(plot: Path, rows: list[dict[str, Any]], title: str, *, force: bool) -> None:
    from refrain.pictures import bench_picture
    from refrain.storage.output_files import write_files

    from .output import log_written

    picture = bench_picture(rows, title, file_format="svg" if plot.suffix == ".svg" else "png")
    write_files([(plot, picture)], force=force)
    log_written(plot)


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
        "load": lambda: benches.bench_load(experiment, windows=windows, repeats=repeats),
    }
    return measures[name]()


def _device(name: str, device: str) -> Any:
    from refrain.assembly import build_device
    from refrain.errors import UserError

    if name in CPU_ONLY and device == "cuda":
        raise UserError(f"bench {name} measures a computation which runs on CPUs only; use --device cpu")
    return build_device("cpu" if name in CPU_ONLY else device)
