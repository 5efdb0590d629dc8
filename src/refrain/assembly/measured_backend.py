"""Measures which backend trains a part of a model faster on this machine, and keeps the results in the cache.

T steps in the window, B batch, H width of the hidden state that a head reads.
"""

import contextlib
import copy
import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from refrain.config import Training
from refrain.nn.kernels.backend import Backend, Part, parts_with_backend
from refrain.nn.kernels.cache import kernel_folder, put_record, read_own
from refrain.nn.kernels.compile import is_compiled, lacks_compiler, library_key, load
from refrain.storage.plain_json import dumps, loads

from .backend import uses_bf16

MOST_SECONDS = 2.0
"""The time for all measurements of a run."""
MOST_SHARE = 0.01
"""The share of a run, at least, that is worth its measurements."""
LEAST_SECONDS = 0.02
FASTEST = 1e12
"""Floating-point operations per second of a fast processor: the time of a run is underestimated by it."""
ROUNDS = 5
SHARES = (1, 2, 4, 8)
MARGIN = 1.03
"""The backend of the rule is kept unless the other one is faster by this factor, which is more than noise."""
LARGEST_RECORD = 4096
LARGEST_SECONDS = 3600.0


class Shape(NamedTuple):
    """The windows of a run."""

    steps: int
    """T."""
    batch: int
    """B, of this process."""
    windows: int
    """The number of windows in the whole run."""
    hidden: int
    """H."""
    vocabulary: int
    """The number of words."""
    minutes: float | None = None
    """The limit of time of the run, if it has one."""


class Times(NamedTuple):
    """Seconds that a part takes for a window or a part of it, forward and backward: the least of several rounds."""

    torch: float
    native: float

    def prefers_native(self, rule: bool) -> bool:
        """Whether native kernels are to be used.

        Args:
            rule: what the rule by sizes says, which counts where the times do not differ.
        """
        return self.torch >= self.native * MARGIN or (rule and self.native <= self.torch * MARGIN)


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
    bf16 = uses_bf16(settings.precision, "cpu")
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
    for file in [file for file, times in known.items() if times is None]:
        left = end - time.perf_counter()
        if left < LEAST_SECONDS:
            break
        part = next(part for name, part in asked.items() if files[name] == file)
        waiting = sum(times is None for times in known.values())
        if (times := time_part(part, shape, left / waiting, bf16=bf16)) is not None:
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


def time_part(part: Part, shape: Shape, seconds: float, *, bf16: bool) -> Times | None:
    """Time a part with both backends, in turns.

    Args:
        part: the part; a copy of it is used.
        shape: the windows of the run. A half, a quarter or an eighth of a window is used where a whole one takes too
            long.
        seconds: the time that it may take.
        bf16: whether matmul inputs are rounded to bfloat16.

    Returns:
        The times, or None if they could not be measured in that time.
    """
    started = time.perf_counter()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        # if a part cannot be measured, the rule by sizes decides
        with contextlib.suppress(TypeError, ValueError, RuntimeError, AttributeError):
            copies = {native: copy.deepcopy(part) for native in (False, True)}
            for native, each in copies.items():
                each.backend = Backend(native, bf16)
                _module(each).train()
            calls = {native: window_call(each, _part_of(shape, 8)) for native, each in copies.items()}
            eighth = sum(_seconds(call) for call in calls.values())
            spent = time.perf_counter() - started
            # one call that is not counted, and one round
            share = next((share for share in SHARES if spent + 2 * eighth * 8 / share < seconds), None)
            if share is None:
                return None
            calls = {native: window_call(each, _part_of(shape, share)) for native, each in copies.items()}
            first = {native: _seconds(call) for native, call in calls.items()}
            rounds: dict[bool, list[float]] = {False: [], True: []}
            while len(rounds[True]) < ROUNDS and time.perf_counter() - started + sum(first.values()) < seconds:
                for native, call in calls.items():
                    rounds[native].append(_seconds(call))
            if rounds[True]:
                return Times(min(rounds[False]), min(rounds[True]))
    return None


def window_call(part: Any, shape: Shape) -> Callable[[], None]:
    """A call that computes a window of a part, forward and backward.

    Args:
        part: a recurrent layer or a head.
        shape: the windows.
    """
    module = _module(part)
    if hasattr(part, "initial_state"):
        inputs = torch.randn(shape.steps, shape.batch, part.input_size, requires_grad=True)
        state = part.initial_state(shape.batch)

        def layer() -> None:
            module.zero_grad(set_to_none=True)
            outputs, _ = part(inputs, state)
            outputs.sum().backward()

        return layer
    hidden = torch.randn(shape.steps, shape.batch, shape.hidden, requires_grad=True)
    # small ids are frequent, as in a vocabulary in order of frequency
    targets = (shape.vocabulary ** torch.rand(shape.steps, shape.batch)).long() - 1

    def head() -> None:
        module.zero_grad(set_to_none=True)
        part(hidden, targets).backward()

    return head


def _part_of(shape: Shape, share: int) -> Shape:
    return shape._replace(steps=max(1, shape.steps // share))


def _seconds(call: Callable[[], None]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


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
    transforms = sorted(f"{name} {type(each).__name__}" for name, each in getattr(part, "transforms", {}).items())
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
