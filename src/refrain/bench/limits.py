"""What a device reaches at most: matrix products of two types, and copies. Measured beside what is compared."""

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
"""Rows, inner width and columns of the products, by kind of device."""
COPIED = {"cpu": 2 * 4 * 16 * 2**20, "cuda": 2 * 4 * 256 * 2**20}
"""Bytes read and written by a copy."""
PREFIX = "limit: "


def limits(device: torch.device) -> dict[str, Callable[[], Any]]:
    """What to time in turns with the candidates of a bench, by name.

    Args:
        device: where.
    """
    calls: dict[str, Callable[[], Any]] = {}
    kinds = {"float32": torch.float32, "bf16": torch.bfloat16}
    rows, inner, columns = SHAPES[device.type]
    for name in precisions(device):
        a, b = (torch.randn(shape, device=device).to(kinds[name]) for shape in ((rows, inner), (inner, columns)))
        calls[f"{PREFIX}{name} products"] = partial(matmul, a, b)
    source = torch.zeros(COPIED[device.type] // 8, device=device)
    calls[f"{PREFIX}copy"] = partial(torch.empty_like(source).copy_, source)
    return calls


def limit_rows(seconds: Mapping[str, list[float]], device: torch.device) -> list[dict[str, Any]]:
    """The rows of the limits, in GFLOP/s and in GB/s read and written.

    Args:
        seconds: of each call, by name, as from `interleaved`; names that are no limit are passed over.
        device: where.
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
    """The median share that a candidate reaches of the products' rate in its precision, pair by pair.

    Args:
        seconds: of each call, by name.
        name: of the candidate.
        flops: additions and multiplications of a call.
        precision: float32 or bf16.
        device: where.
    """
    pairs = zip(seconds[name], seconds[f"{PREFIX}{precision} products"], strict=True)
    return median((flops / own) / (_flops(device) / most) for own, most in pairs)


def share_of_copy(seconds: Mapping[str, list[float]], name: str, weight_bytes: float, device: torch.device) -> float:
    """The median share that a candidate reaches of the rate of copying, read and written alike, pair by pair.

    Args:
        seconds: of each call, by name.
        name: of the candidate.
        weight_bytes: that a call reads.
        device: where.
    """
    pairs = zip(seconds[name], seconds[f"{PREFIX}copy"], strict=True)
    return median((weight_bytes / own) / (COPIED[device.type] / most) for own, most in pairs)


def matrix_entries(*modules: nn.Module) -> int:
    """Entries of all matrices: a token is multiplied with each of them once forward and twice backward.

    Args:
        modules: such as a layer, a stack, a head.
    """
    return sum(parameter.numel() for module in modules for parameter in module.parameters() if parameter.ndim >= 2)


def precisions(device: torch.device) -> list[str]:
    """The precisions that a device has instructions for.

    Args:
        device: where.
    """
    return ["float32", "bf16"] if has_fast_bf16(device.type) else ["float32"]


def _flops(device: torch.device) -> int:
    rows, inner, columns = SHAPES[device.type]
    return 2 * rows * inner * columns
