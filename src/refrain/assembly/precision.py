"""The precision of matmul inputs in training: as the settings ask, and for `auto` the faster one on this machine."""

import contextlib
import functools
import hashlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from refrain.config import TaggerTraining, Training
from refrain.errors import MachineError
from refrain.nn.kernels.backend import has_fast_bf16
from refrain.nn.kernels.cache import kernel_folder, put_record, read_own
from refrain.nn.kernels.levels import processor
from refrain.storage.plain_json import dumps, loads

WORTH = 1.1
"""How many times as fast as in float32 a matmul in bf16 must be for `auto` to choose bf16."""
SHAPE = 512, 512, 1024
"""Rows, inner size and columns of the measured matmul, about those of a window of a small model."""
ROUNDS = 7
LARGEST_RECORD = 4096
LARGEST_SPEEDUP = 1e4


def uses_bf16(settings: Training | TaggerTraining, device: str) -> bool:
    """Whether matmul inputs are rounded to bfloat16 in training.

    The setting `auto` rounds where the device has instructions for bfloat16 and, on a CPU, multiplies faster by them;
    with `deterministic`, nothing is measured and the instructions decide.

    Args:
        settings: the settings with the requested precision.
        device: the type of the device.

    Raises:
        MachineError: when bf16 is asked for and the device does not compute in it.
    """
    able = has_fast_bf16(device)
    if settings.precision == "bf16" and not able:
        name = {"cpu": "this CPU", "cuda": "this GPU"}.get(device, f"the device {device}")
        raise MachineError(
            f"training.precision: 'bf16' needs a device that computes in it; {name} does not; use 'float32'"
        )
    if settings.precision != "auto" or not able:
        return settings.precision == "bf16"
    return settings.deterministic or device != "cpu" or bf16_speedup() >= WORTH


@functools.cache
def bf16_speedup() -> float:
    """How many times as fast as in float32 torch multiplies matrices in bf16 on one core of this CPU.

    Some processors have the instructions and are slower by them: Intel's server processors have bfloat16 instructions
    in AVX-512 at half the rate of float32 ones, and a virtual machine may hide the tiles that are faster. The figure is
    measured once and kept in the cache folder, by processor and version of torch.
    """
    file = record_path()
    if (found := read_speedup(file)) is None:
        found = measured_speedup()
        with contextlib.suppress(OSError):
            put_record(file, dumps({"bf16_speedup": found}))
    return found


def record_path() -> Path:
    """The file with the figure for this processor and version of torch."""
    words = "\0".join(("bf16", torch.__version__, *processor()))
    return kernel_folder() / "times" / f"{hashlib.sha256(words.encode()).hexdigest()[:32]}.json"


def read_speedup(path: Path) -> float | None:
    """The figure in a file that belongs to this user; None if there is none, or it is damaged.

    Args:
        path: from `record_path`.
    """
    try:
        found = float(loads(read_own(path, LARGEST_RECORD))["bf16_speedup"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if 0 < found < LARGEST_SPEEDUP else None


def measured_speedup() -> float:
    """Measure the figure of `bf16_speedup`, in a tenth of a second.

    One thread is timed, by the time that it computes, so that programs beside this one matter little.
    """
    rows, inner, columns = SHAPE
    pairs = [
        (torch.ones(rows, inner, dtype=dtype), torch.ones(inner, columns, dtype=dtype))
        for dtype in (torch.float32, torch.bfloat16)
    ]
    least = [float("inf")] * 2
    clock = _clock()
    with torch.inference_mode(), _one_thread():
        # in turns, so that a slow moment is one for both; the first round also prepares the matmuls
        for count in range(ROUNDS + 1):
            for index, (left, right) in enumerate(pairs):
                started = clock()
                torch.mm(left, right)
                if count:
                    least[index] = min(least[index], clock() - started)
    return least[0] / max(least[1], 1e-9)


def _clock() -> Callable[[], float]:
    """The clock of a thread where it is exact; Windows moves it 64 times a second."""
    return time.perf_counter if sys.platform == "win32" else time.thread_time


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
