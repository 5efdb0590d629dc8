"""The precision of matmul inputs in training: as the settings ask, and for `auto` the faster one on this machine."""

import functools
import time

import torch

from refrain.config import TaggerTraining, Training
from refrain.errors import UserError
from refrain.nn.kernels.backend import has_fast_bf16

WORTH = 1.1
"""How many times as fast as in float32 a matmul in bf16 must be for `auto` to choose bf16."""
SHAPE = 512, 512, 1024
"""Rows, inner size and columns of the measured matmul, about those of a window of a small model."""
ROUNDS = 7


def uses_bf16(settings: Training | TaggerTraining, device: str) -> bool:
    """Whether matmul inputs are rounded to bfloat16 in training.

    The setting `auto` rounds where the device has instructions for bfloat16 and, on a CPU, multiplies faster by them;
    with `deterministic`, nothing is measured and the instructions decide.

    Args:
        settings: the settings with the requested precision.
        device: the type of the device.

    Raises:
        UserError: when bf16 is asked for and the device does not compute in it.
    """
    able = has_fast_bf16(device)
    if settings.precision == "bf16" and not able:
        name = {"cpu": "this CPU", "cuda": "this GPU"}.get(device, f"the device {device}")
        raise UserError(
            f"training.precision: 'bf16' needs a device that computes in it; {name} does not; use 'float32'"
        )
    if settings.precision != "auto" or not able:
        return settings.precision == "bf16"
    return settings.deterministic or device != "cpu" or bf16_speedup() >= WORTH


def bf16_speedup() -> float:
    """How many times as fast as in float32 torch multiplies matrices in bf16 on this CPU, with torch's threads.

    Some processors have the instructions and are slower by them: Intel's server processors have bfloat16 instructions
    in AVX-512 at half the rate of float32 ones, and a virtual machine may hide the tiles that are faster.
    """
    return _measured_speedup(torch.get_num_threads())


@functools.cache
def _measured_speedup(threads: int) -> float:
    rows, inner, columns = SHAPE
    pairs = [
        (torch.ones(rows, inner, dtype=dtype), torch.ones(inner, columns, dtype=dtype))
        for dtype in (torch.float32, torch.bfloat16)
    ]
    least = [float("inf")] * 2
    with torch.inference_mode():
        # in turns, so that a busy moment slows both; the first round also prepares the matmul
        for count in range(ROUNDS + 1):
            for index, (left, right) in enumerate(pairs):
                started = time.perf_counter()
                torch.mm(left, right)
                if count:
                    least[index] = min(least[index], time.perf_counter() - started)
    return least[0] / least[1]
