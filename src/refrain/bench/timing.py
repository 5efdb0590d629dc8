"""Paired timing: the candidates take turns in one run, so that a machine's drift meets all of them alike."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch


def interleaved(candidates: Mapping[str, Callable[[], Any]], *, repeats: int) -> dict[str, list[float]]:
    """Seconds of each call; the candidates alternate, after one call of each that is not counted.

    What a call has left for a GPU to do is waited for, and counted.

    Args:
        candidates: name -> what to time.
        repeats: how many counted calls of each.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for run in range(repeats + 1):
        for name, call in candidates.items():
            if sys.stderr.isatty():
                print(f"\r\x1b[Kround {run} of {repeats}: {name}", end="", file=sys.stderr, flush=True)
            _wait_for_gpu()
            started = time.perf_counter()
            call()
            _wait_for_gpu()
            if run:
                seconds[name].append(time.perf_counter() - started)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    return seconds


def _wait_for_gpu() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def rows_against(
    first: str, seconds: Mapping[str, list[float]], amount: float, unit: str, *, prefix: str = ""
) -> list[dict[str, Any]]:
    """A row for each candidate, compared with one of them.

    Args:
        first: the candidate that the others are compared with.
        seconds: of each call, by candidate, as from `interleaved`.
        amount: what a call gets through, in the unit's own measure, such as tokens.
        unit: of the rates, such as tokens/s.
        prefix: before each name.
    """
    return [
        row(
            prefix + name,
            [amount / s for s in times],
            unit,
            ratios=[base / s for base, s in zip(seconds[first], times, strict=True)],
        )
        for name, times in seconds.items()
    ]


def row(name: str, rates: list[float], unit: str, *, ratios: list[float] | None = None) -> dict[str, Any]:
    """A row of a bench: the median rate, its spread, and the median of the ratios pair by pair.

    Args:
        name: of the row.
        rates: one a repeat, higher is faster.
        unit: of the rates.
        ratios: one a repeat, against the row it is compared with.
    """
    return {
        "name": name,
        "median": statistics.median(rates),
        "low": min(rates),
        "high": max(rates),
        "unit": unit,
        "ratio": statistics.median(ratios) if ratios else None,
    }
