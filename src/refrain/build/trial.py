"""A recipe tried on two windows: what it needs, and that it works."""

import time
from collections.abc import Callable
from typing import Any

import torch

from refrain.config import AnyExperiment
from refrain.training import train_round

from .engine import build_engine
from .kinds import kind_of
from .manifest import peak_memory_bytes
from .model import build_device


def trial(experiment: AnyExperiment, say: Callable[[str], None]) -> dict[str, Any]:
    """Build everything and train two windows, nothing of which is kept.

    Args:
        experiment: the settings.
        say: is told what takes time.

    Returns:
        `parameters`, `widths`, `windows` an epoch, `seconds` that training is expected to take, `peak_memory_bytes`.
    """
    kind = kind_of(experiment)
    corpus = kind.corpus(experiment, say)
    torch.manual_seed(experiment.training.seed)
    device = build_device(experiment.training.device)
    model = kind.model(experiment, corpus.vocabulary).to(device)
    build_engine(experiment.training, model)
    task = kind.task(experiment, corpus, model)
    windows = task.windows(0)
    state, seconds = model.initial_state(task.batch_size), 0.0
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
            hooks=task.hooks,
        )
        seconds = time.monotonic() - started
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "widths": model.widths(),
        "windows": len(windows),
        "seconds": round(seconds * len(windows) * task.epochs, 1),
        "peak_memory_bytes": peak_memory_bytes(),
    }
