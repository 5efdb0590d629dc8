"""A trial of a recipe on a few windows, which measures its memory and time."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from refrain.assembly.backend import kernels_used
from refrain.assembly.model import build_device
from refrain.assembly.sparsity import with_target_number
from refrain.config import AnyExperiment
from refrain.errors import UserError
from refrain.parallel import Ranks
from refrain.storage.machine import peak_memory_bytes
from refrain.storage.output_checks import check_outputs
from refrain.storage.output_files import write_files
from refrain.training import NonFiniteError, Task, train_round

from .kinds import kind_of
from .layout import draw_layout, frequency_bands, sparse_plans
from .named import named_run
from .preparing import choose
from .starting import check_freezing, load_start
from .threads import threads_for
from .torch_modes import usual_modes

WINDOWS, SECONDS = 12, 2.0
"""The largest number of windows of a trial, and the seconds after which a trial of at least two windows ends."""


def trial(
    experiment: AnyExperiment,
    log: Callable[[str], None],
    layout: str | Path | None = None,
    *,
    force: bool = False,
    start_from: str | Path | None = None,
) -> dict[str, Any]:
    """Build the model and the task of an experiment, and train on two windows or a few more. No run is saved.

    Args:
        experiment: the settings.
        log: called with a line of text before steps that take long.
        layout: a file for a picture of the layout of predefined sparseness, or None.
        force: whether `layout` is replaced if it exists.
        start_from: a run whose best weights are the initial weights, or None.

    Returns:
        `start`, the record of `load_start` or None, `parameters`, `widths`, `plans` of sparse layers as text, `bands`
        of a sparse embedding, `windows` per epoch, `backend` of each part and the `kernels` that are used, both in
        words, `threads`, `seconds` that training is expected to take, at most the limit `training.max_minutes`, and
        `peak_memory_bytes`, which is None on systems that do not count it.

    Raises:
        DataError: when the corpus is missing or damaged.
        CheckpointError: when the weights of `start_from` are of another model.
        UserError: when `sparsity.freeze` finds no zeros; when `layout` exists and `force` is not set, is a file of the
            corpus, or nothing is sparse; when there are far more threads than cores; when the loss or a gradient is not
            finite.
    """
    if layout is not None:
        check_outputs([("layout", Path(layout))], [experiment.data.corpus], force=force)
    with usual_modes(), threads_for(experiment, log):
        return _trial(experiment, log, layout, start_from, force=force)


def _trial(
    experiment: AnyExperiment,
    log: Callable[[str], None],
    layout: str | Path | None,
    start_from: str | Path | None,
    *,
    force: bool,
) -> dict[str, Any]:
    kind = kind_of(experiment)
    corpus = kind.corpus(experiment, log)
    torch.manual_seed(experiment.training.seed)
    device = build_device(experiment.training.device)
    model = kind.model(experiment, corpus).to(device)
    if layout is not None:
        write_files([(Path(layout), draw_layout(experiment.name, model, corpus))], force=force)
    backends = choose(experiment, corpus, model, Ranks(), log).backends
    start = None if start_from is None else load_start(named_run(start_from), model, corpus)
    experiment = with_target_number(experiment, model)
    task = kind.task(experiment, corpus, model)
    check_freezing(experiment, task)
    windows = len(task.windows(0))
    try:
        times = _window_times(task, device)
    except (NonFiniteError, FloatingPointError) as error:
        raise UserError(f"{error}; choose a lower training.learning_rate or training.max_norm") from None
    limit = experiment.training.max_minutes
    seconds = statistics.median(times[1:] or times) * windows * task.epochs
    return {
        "start": start,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "widths": model.widths(),
        "plans": {name: str(plan) for name, plan in sparse_plans(model).items()},
        "bands": frequency_bands(model, corpus),
        "windows": windows,
        "backend": backends,
        "kernels": kernels_used(backends),
        "threads": torch.get_num_threads(),
        "seconds": round(seconds if limit is None else min(seconds, 60 * limit), 1),
        "peak_memory_bytes": peak_memory_bytes(),
    }


def _window_times(task: Task, device: torch.device) -> list[float]:
    """Train on the first windows and return the seconds of each; the first one also allocates memory."""
    windows, state = task.windows(0), task.initial_state()
    times: list[float] = []
    for index in range(min(WINDOWS, len(windows))):
        inputs, targets = windows[index]
        started = time.monotonic()
        state = train_round(
            task.model,
            [(inputs.to(device), targets.to(device))],
            state,
            task.optimizer,
            loss_scale=task.loss_scale,
            max_norm=task.max_norm,
            hooks=task.methods.hooks(),
        )
        times.append(time.monotonic() - started)
        if len(times) > 1 and sum(times) > SECONDS:
            break
    return times
