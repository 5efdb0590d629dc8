"""Measures which backend trains a part of a model faster on this machine, and keeps the results in the cache."""

import contextlib
import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from refrain.config import Training
from refrain.nn.kernels.allocator import keep_freed_memory
from refrain.nn.kernels.backend import Part, parts_with_backend
from refrain.nn.kernels.cache import kernel_folder, put_record, read_own
from refrain.nn.kernels.compile import is_compiled, lacks_compiler, library_key, load
from refrain.storage.plain_json import dumps, loads

from .precision import uses_bf16
from .window_times import Shape, Times, time_part

MOST_SECONDS = 2.0
"""The time for all measurements of a run."""
MOST_SHARE = 0.01
"""The largest fraction of a run's estimated time that its measurements may take."""
LEAST_SECONDS = 0.02
FASTEST = 1e12
"""Floating-point operations per second of a fast processor: the time of a run is underestimated by it."""
LARGEST_RECORD = 4096
LARGEST_SECONDS = 3600.0


def measure_backends(
    model: nn.Module, settings: Training, shape: Shape, log: Callable[[str], None] | None = None
) -> dict[str, Times]:
    """Measure the backends of the parts of a model on a CPU.

    Args:
        model: the model.
        settings: the settings of the training.
        shape: the windows of the run.
        log: called with a line of text before kernels are compiled.

    Returns:
        The times of parts, by name; those that are not measured are left to the rule by sizes.
    """
    parts = dict(parts_with_backend(model))
    bf16 = uses_bf16(settings, "cpu")
    seconds = budget(parts, shape)
    if seconds < LEAST_SECONDS or lacks_compiler():
        return {}
    missing = {part.kernels for part in parts.values() if "native" in part.backends and not is_compiled(part.kernels)}
    if seconds < MOST_SECONDS:
        # kernels that the rule does not choose are not compiled for a run of some minutes
        parts = {
            name: part
            for name, part in parts.items()
            if part.kernels not in missing or part.native_from.includes(part.native_size, "cpu", bf16=bf16)
        }
        missing &= {part.kernels for part in parts.values()}
    if log is not None and missing:
        log(f"compiling kernels for this processor, some seconds, once: {', '.join(sorted(missing))}")
    # as in the training
    keep_freed_memory()
    return times_of(parts, shape, seconds, bf16=bf16)


def times_of(parts: Mapping[str, Part], shape: Shape, seconds: float, *, bf16: bool) -> dict[str, Times]:
    """The times of the parts of a model that have native kernels, from the cache, or measured and put there.

    Parameters, gradients and random numbers are as before.

    Args:
        parts: the parts, on a CPU, by name.
        shape: the windows of the run.
        seconds: the time that all measurements may take; where it is not enough, parts are left out.
        bf16: whether matmul inputs are rounded to bfloat16.

    Returns:
        The times, by name of the part.
    """
    asked = {name: part for name, part in parts.items() if "native" in part.backends and load(part.kernels) is not None}
    # parts of the same class and shapes have the same file
    files = {name: record_path(part, shape, bf16=bf16) for name, part in asked.items()}
    known = {file: read_times(file) for file in files.values()}
    end = time.perf_counter() + seconds
    waiting_parts: dict[Path, Part] = {}
    for name, part in asked.items():
        if known[files[name]] is None:
            waiting_parts.setdefault(files[name], part)
    # the smallest first, as they leave a part of their share to the others
    in_order = sorted(waiting_parts.items(), key=lambda pair: _size(pair[1]))
    for index, (file, part) in enumerate(in_order):
        left = end - time.perf_counter()
        if left < LEAST_SECONDS:
            break
        if (times := time_part(part, shape, left / (len(in_order) - index), bf16=bf16)) is not None:
            known[file] = times
            write_times(file, times)
    return {name: times for name, file in files.items() if (times := known[file]) is not None}


def budget(parts: Mapping[str, Part], shape: Shape) -> float:
    """The seconds that measurements may take, by a lower bound on the time of the run.

    Args:
        parts: the parts of the model.
        shape: the windows of the run.
    """
    weights = {id(weight): weight.numel() for part in parts.values() for weight in _parameters(part)}
    window = 6 * sum(weights.values()) * shape.steps * shape.batch / FASTEST
    limit = float("inf") if shape.minutes is None else 60 * shape.minutes
    return min(MOST_SECONDS, MOST_SHARE * min(window * shape.windows, limit))


def _size(part: Any) -> int:
    return sum(weight.numel() for weight in _parameters(part))


def _module(part: Any) -> nn.Module:
    assert isinstance(part, nn.Module)
    return part


def _parameters(part: Any) -> list[torch.Tensor]:
    return list(_module(part).parameters())


def record_path(part: Part, shape: Shape, *, bf16: bool) -> Path:
    """The file with the times of a part, by its class and shapes, the processor, the threads, torch and the kernels.

    Args:
        part: the part.
        shape: the windows of the run, of which the number does not count.
        bf16: whether matmul inputs are rounded to bfloat16.
    """
    shapes = [f"{name} {tuple(weight.shape)} {weight.dtype}" for name, weight in _module(part).named_parameters()]
    transforms = sorted(
        f"{prefix}{name} {type(each).__name__}"
        for prefix, module in _module(part).named_modules()
        for name, each in (getattr(module, "transforms", None) or {}).items()
    )
    words = [type(part).__name__, *shapes, *transforms, f"{shape.steps} {shape.batch}", str(bf16)]
    words += [str(torch.get_num_threads()), library_key(part.kernels)]
    digest = hashlib.sha256("\0".join(words).encode()).hexdigest()
    return kernel_folder() / "times" / f"{digest[:32]}.json"


def read_times(path: Path) -> Times | None:
    """The times in a file that belongs to this user; None if there is none, or it is damaged.

    Args:
        path: from `record_path`.
    """
    try:
        found = loads(read_own(path, LARGEST_RECORD))
        times = Times(float(found["torch"]), float(found["native"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return times if all(0 < seconds < LARGEST_SECONDS for seconds in times) else None


def write_times(path: Path, times: Times) -> None:
    """Keep times for later runs. Nothing happens where the cache cannot be written.

    Args:
        path: from `record_path`.
        times: the times.
    """
    with contextlib.suppress(OSError):
        put_record(path, dumps(times._asdict()))
