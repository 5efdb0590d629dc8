"""The limits of a device: the speed of large matmuls in two dtypes, and of copies, timed beside the candidates."""

from collections.abc import Callable, Mapping
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import nn

from refrain.nn.kernels.backend import has_fast_bf16
from refrain.nn.kernels.matmul import matmul

from .timing import row

SHAPES = {"cpu": (1024, 1024, 4096), "cuda": (4096, 4096, 16384)}
"""The shape (M, K, N) of the matmul, by device type."""
COPIED = {"cpu": 2 * 4 * 16 * 2**20, "cuda": 2 * 4 * 256 * 2**20}
"""The number of bytes that a copy reads and writes, by device type."""
PREFIX = "limit: "


def limits(device: torch.device) -> dict[str, Callable[[], Any]]:
    """Return the calls that measure the limits of a device, by name, to be timed in turns with the candidates.

    Args:
        device: the device to measure.
    """
    calls: dict[str, Callable[[], Any]] = {}
    dtypes = {"float32": torch.float32, "bf16": torch.bfloat16}
    m, k, n = SHAPES[device.type]
    for name in precisions(device):
        a = torch.randn((m, k), device=device).to(dtypes[name])
        b = torch.randn((k, n), device=device).to(dtypes[name])
        calls[f"{PREFIX}{name} products"] = partial(matmul, a, b)
    source = torch.zeros(COPIED[device.type] // 8, device=device)
    calls[f"{PREFIX}copy"] = partial(torch.empty_like(source).copy_, source)
    return calls


def limit_rows(seconds: Mapping[str, list[float]], device: torch.device) -> list[dict[str, Any]]:
    """Return a row for each limit, in GFLOP/s for matmuls and in GB/s read and written for copies.

    Args:
        seconds: the times of each call, by name, as returned by `interleaved`; names that are no limits are ignored.
        device: the device that was measured.
    """
    rows = []
    for name, times in seconds.items():
        if name.startswith(PREFIX):
            copied = name.endswith("copy")
            amount, unit = (COPIED[device.type], "GB/s") if copied else (_flops(device), "GFLOP/s")
            rows.append(row(name, [amount / 1e9 / s for s in times], unit))
    return rows


def share_of_limit(
    seconds: Mapping[str, list[float]], name: str, flops: float, precision: str, device: torch.device
) -> float:
    """Return the speed of a candidate as a fraction of the matmul limit in its precision: the median over the rounds.

    Args:
        seconds: the times of each call, by name.
        name: the candidate's name.
        flops: the number of additions and multiplications in a call.
        precision: float32 or bf16.
        device: the device that was measured.
    """
    pairs = zip(seconds[name], seconds[f"{PREFIX}{precision} products"], strict=True)
    return median((flops / own) / (_flops(device) / most) for own, most in pairs)


def share_of_copy(seconds: Mapping[str, list[float]], name: str, weight_bytes: float, device: torch.device) -> float:
    """Return the rate at which a candidate reads memory as a fraction of the copy limit: the median over the rounds.

    Args:
        seconds: the times of each call, by name.
        name: the candidate's name.
        weight_bytes: the number of bytes that a call reads.
        device: the device that was measured.
    """
    pairs = zip(seconds[name], seconds[f"{PREFIX}copy"], strict=True)
    return median((weight_bytes / own) / (COPIED[device.type] / most) for own, most in pairs)


def matrix_entries(*modules: nn.Module) -> int:
    """Count the entries of all matrices: each costs one multiply-add per token forward and two backward.

    Args:
        modules: the modules to count, such as a layer, a stack or a head.
    """
    return sum(parameter.numel() for module in modules for parameter in module.parameters() if parameter.ndim >= 2)


def precisions(device: torch.device) -> list[str]:
    """Return the precisions that a device has instructions for.

    Args:
        device: the device to measure on.
    """
    return ["float32", "bf16"] if has_fast_bf16(device.type) else ["float32"]


def _flops(device: torch.device) -> int:
    m, k, n = SHAPES[device.type]
    return 2 * m * k * n
