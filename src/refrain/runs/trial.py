"""A trial of a recipe on two windows, which measures its memory and time."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from refrain.assembly.backend import choose_backends, kernels_used
from refrain.assembly.model import build_device
from refrain.config import AnyExperiment
from refrain.storage.machine import peak_memory_bytes
from refrain.storage.output_checks import check_outputs
from refrain.storage.output_files import write_files
from refrain.training import train_round

from .kinds import kind_of
from .layout import draw_layout, frequency_bands, sparse_plans


def trial(
    experiment: AnyExperiment, log: Callable[[str], None], layout: str | Path | None = None, *, force: bool = False
) -> dict[str, Any]:
    """Build the model and the task of an experiment, and train on two windows. Nothing is saved.

    Args:
        experiment: the settings.
        log: called with a line of text before steps that take long.
        layout: a file for a picture of the layout of predefined sparseness, or None.
        force: whether `layout` is replaced if it exists.

    Returns:
        `parameters`, `widths`, `plans` of sparse layers as text, `bands` of a sparse embedding, `windows` per epoch,
        `backend` of each part and the `kernels` that are used, both in words, `seconds` that training is expected to
        take, and `peak_memory_bytes`, which is None on systems that do not count it.

    Raises:
        DataError: when the corpus is missing or damaged.
        UserError: when `layout` exists and `force` is not set, is a file of the corpus, or nothing is sparse.
    """
    if layout is not None:
        check_outputs([("layout", Path(layout))], [experiment.data.corpus], force=force)
    kind = kind_of(experiment)
    corpus = kind.corpus(experiment, log)
    torch.manual_seed(experiment.training.seed)
    device = build_device(experiment.training.device)
    model = kind.model(experiment, corpus).to(device)
    if layout is not None:
        write_files([(Path(layout), draw_layout(experiment.name, model, corpus))], force=force)
    backends = choose_backends(experiment.training, model, log)
    task = kind.task(experiment, corpus, model)
    windows = task.windows(0)
    state = model.initial_state(task.batch_size)
    seconds = 0.0
    for index in range(min(2, len(windows))):
        inputs, targets = windows[index]
        started = time.monotonic()
        state = train_round(
            model,
            [(inputs.to(device), targets.to(device))],
            state,
            task.optimizer,
            loss_scale=task.loss_scale,
            max_norm=task.max_norm,
            hooks=task.methods.hooks(),
        )
        seconds = time.monotonic() - started
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "widths": model.widths(),
        "plans": {name: str(plan) for name, plan in sparse_plans(model).items()},
        "bands": frequency_bands(model, corpus),
        "windows": len(windows),
        "backend": backends,
        "kernels": kernels_used(backends),
        "seconds": round(seconds * len(windows) * task.epochs, 1),
        "peak_memory_bytes": peak_memory_bytes(),
    }
