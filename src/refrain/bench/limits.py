"""What the machine reaches at most: matrix products of two types, and copies. Measured beside what is compared."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from refrain.evaluation.timing import row
from refrain.nn.engine import has_fast_bf16
from refrain.nn.products import product

ROWS, INNER, COLUMNS = 1024, 1024, 4096
FLOPS = 2 * ROWS * INNER * COLUMNS
COPIED = 2 * 4 * 16 * 2**20
PREFIX = "limit: "


def limits() -> dict[str, Callable[[], Any]]:
    """What to time in turns with the candidates of a bench, by name."""
    calls: dict[str, Callable[[], Any]] = {}
    kinds = {"float32": torch.float32} | ({"bf16": torch.bfloat16} if has_fast_bf16() else {})
    for name, kind in kinds.items():
        a, b = torch.randn(ROWS, INNER).to(kind), torch.randn(INNER, COLUMNS).to(kind)
        calls[f"{PREFIX}{name} products"] = partial(product, a, b)
    source = torch.zeros(COPIED // 8)
    calls[f"{PREFIX}copy"] = partial(torch.empty_like(source).copy_, source)
    return calls


def limit_rows(seconds: Mapping[str, list[float]]) -> list[dict[str, Any]]:
    """The rows of the limits, in GFLOP/s and in GB/s read and written.

    Args:
        seconds: of each call, by name, as from `interleaved`; names that are no limit are passed over.
    """
    rows = []
    for name, times in seconds.items():
        if name.startswith(PREFIX):
            amount, unit = (COPIED, "GB/s") if name.endswith("copy") else (FLOPS, "GFLOP/s")
            rows.append(row(name, [amount / 1e9 / s for s in times], unit))
    return rows


def share_of_limit(seconds: Mapping[str, list[float]], name: str, flops: float, precision: str) -> float:
    """The median share that a candidate reaches of the products' rate in its precision, pair by pair.

    Args:
        seconds: of each call, by name.
        name: of the candidate.
        flops: additions and multiplications of a call.
        precision: float32 or bf16.
    """
    pairs = zip(seconds[name], seconds[f"{PREFIX}{precision} products"], strict=True)
    shares = sorted((flops / own) / (FLOPS / most) for own, most in pairs)
    return shares[len(shares) // 2]


def precisions() -> list[str]:
    """The precisions that this processor has instructions for."""
    return ["float32", "bf16"] if has_fast_bf16() else ["float32"]
