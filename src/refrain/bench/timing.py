"""Paired timing: the candidates take turns in one run, so that a drift in the machine's speed affects all alike."""

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from refrain.storage.plain_text import errors_on_terminal


def interleaved(
    candidates: Mapping[str, Callable[[], Any]], *, repeats: int, clock: Callable[[], float] | None = None
) -> dict[str, list[float]]:
    """Time calls in turns, after one call of each that is not counted.

    The time of a call includes the GPU work that it has started.

    Args:
        candidates: the calls to time, by name.
        repeats: the number of counted calls of each candidate.
        clock: what tells the time; the default is `time.perf_counter`, and `time.process_time` counts the time of the
            processor alone.

    Returns:
        The seconds of each counted call, by name.
    """
    clock = clock or time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for run in range(repeats + 1):
        for name, call in candidates.items():
            if errors_on_terminal():
                print(f"\r\x1b[Kround {run} of {repeats}: {name}", end="", file=sys.stderr, flush=True)
            _wait_for_gpu()
            started = clock()
            call()
            _wait_for_gpu()
            if run:
                seconds[name].append(clock() - started)
    if errors_on_terminal():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    return seconds


def _wait_for_gpu() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use a single thread inside."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def rows_against(
    first: str, seconds: Mapping[str, list[float]], amount: float, unit: str, *, prefix: str = ""
) -> list[dict[str, Any]]:
    """Return a row for each candidate, compared with one of them.

    Args:
        first: the candidate that the others are compared with.
        seconds: the times of each call, by candidate, as returned by `interleaved`.
        amount: the amount of work in a call, such as its number of tokens.
        unit: the unit of the rates, such as tokens/s.
        prefix: a text in front of each name.
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
    """Return a row of a bench: the median rate, the lowest and highest rate, and the median of the ratios.

    Args:
        name: the row's name.
        rates: a rate for each repeat; higher is faster.
        unit: the unit of the rates.
        ratios: for each repeat, the rate relative to that of the row it is compared with.
    """
    return {
        "name": name,
        "median": statistics.median(rates),
        "low": min(rates),
        "high": max(rates),
        "unit": unit,
        "ratio": statistics.median(ratios) if ratios else None,
    }
