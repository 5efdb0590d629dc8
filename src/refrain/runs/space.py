"""Checks that a disk has space for the checkpoints of a run, before the run begins."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from refrain.errors import UnwritableError
from refrain.training import Position, Task
from refrain.training.resume import capture, weights_of

CHECKPOINTS = 4
"""The most checkpoints in a run folder at once: the last two, the best, and one that is being written."""


def check_space(task: Task, path: Path, *, replaced: bool) -> None:
    """Check that the disk has space for the checkpoints of a run. Where the space is unknown, nothing is checked.

    Args:
        task: the task that will be trained.
        path: the run folder, which need not exist.
        replaced: whether the content of the folder is removed first, so that its space is available, too.

    Raises:
        UnwritableError: when there is too little space.
    """
    needed = CHECKPOINTS * checkpoint_bytes(task)
    try:
        disk = shutil.disk_usage(next(folder for folder in path.absolute().parents if folder.is_dir()))
        if path.is_dir():
            disk = shutil.disk_usage(path)
        freed = sum(file.lstat().st_size for file in path.rglob("*")) if replaced else 0
    except (OSError, StopIteration):
        return
    # some network file systems report no sizes
    if disk.total and disk.free + freed < needed:
        raise UnwritableError(
            f"{path}: {disk.free + freed:,} bytes are free, but the checkpoints of this run need about {needed:,}; "
            "free some space or choose another --out"
        )


def checkpoint_bytes(task: Task) -> int:
    """Estimate the size of a checkpoint: weights, state of the optimiser, and averages if the run can begin them."""
    tensors, _ = capture(task, Position(), None)
    weights = _bytes(weights_of(task.model).values())
    # what optimisers allocate in their first step, and the averages and the trained weights beside them
    copies = 2 if isinstance(task.optimizer, torch.optim.Adam) else 0
    copies += any(group.get("momentum") for group in task.optimizer.param_groups)
    copies += 2 if "averaging" in task.methods else 0
    return _bytes(tensors.values()) + (1 + copies) * weights


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
