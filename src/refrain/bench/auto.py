"""How good the choice of `training.backend=auto` is: each part of a grid of shapes by both backends, and by the choice.

T steps in the window, B batch.
"""

import copy
import statistics
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

from refrain.assembly import build_model
from refrain.assembly.measured_backend import MOST_SECONDS
from refrain.assembly.window_times import Shape, time_part, window_call
from refrain.config import Model
from refrain.nn.kernels.allocator import keep_freed_memory
from refrain.nn.kernels.backend import Backend, Part, parts_with_backend
from refrain.nn.kernels.compile import load

from .limits import precisions
from .timing import interleaved

VOCABULARY = 10_000
CELLS = {
    "lstm": (64, 200, 320, 650, 1150, 1500),
    "gru": (64, 200, 650),
    "multiplicative-lstm": (128, 512, 1024),
}
SPARSE = ((230, 5), (1150, 5), (1725, 3))
"""Widths of sparse layers and their numbers of blocks; the widest two are hidden layers of the paper's models."""
HEADS = (64, 200, 650, 1500)
STEPS, BATCH = 35, 20


class Case(NamedTuple):
    """A part of a grid."""

    name: str
    part: Part
    shape: Shape


def grid() -> Iterator[Case]:
    """The parts that are measured: layers of some cells and widths, sparse ones, and softmax heads of 10,000 words."""
    for cell, widths in CELLS.items():
        for width in widths:
            yield _case(f"{cell} {width}", {"cell": {"kind": cell}}, width, "stack.layers.0")
    for width, blocks in SPARSE:
        plan = {"kind": "uniform", "blocks": blocks, "density": 0.3 if blocks == 5 else 0.55}
        settings = {"cell": {"kind": "sparse-lstm", "plan": plan}}
        yield _case(f"sparse-lstm {width} in {blocks}", settings, width, "stack.layers.0")
    for width in HEADS:
        yield _case(f"softmax {width}", {}, width, "head")


def _case(name: str, settings: dict[str, Any], width: int, part: str) -> Case:
    torch.manual_seed(1)
    model = build_model(Model(**settings, embedding_size=width, hidden_sizes=(width,)), VOCABULARY)
    shape = Shape(STEPS, BATCH, windows=10**6, hidden=width, vocabulary=VOCABULARY)
    return Case(name, dict(parts_with_backend(model))[part], shape)


def bench_auto(*, repeats: int, cases: Callable[[], Iterator[Case]] = grid) -> list[dict[str, Any]]:
    """Measure a window of each part, forward and backward, with both backends in turns, and with the one of `auto`.

    The choice is measured anew, as a run without a cache does it, in the time that a run of a few parts leaves to each.
    Regret is the time that the choice loses: the median time of the backend that it has chosen, divided by that of the
    faster one, less 1.

    Args:
        repeats: the number of timed windows of each backend.
        cases: the parts.

    Returns:
        A row for each part and precision, and one with the median and the largest regret.
    """
    rows: list[dict[str, Any]] = []
    keep_freed_memory()
    for case in cases():
        if load(case.part.kernels) is None:
            continue
        for precision in precisions(torch.device("cpu")):
            rows.append(_row(case, precision, repeats))
    regrets = [row["regret"] for row in rows] or [0.0]
    rows.append({"name": "all", "regret": statistics.median(regrets), "worst": max(regrets)})
    return rows


def _row(case: Case, precision: str, repeats: int) -> dict[str, Any]:
    bf16 = precision == "bf16"
    copies = {native: copy.deepcopy(case.part) for native in (False, True)}
    for native, part in copies.items():
        part.backend = Backend(native, bf16)
    calls = {"torch": window_call(copies[False], case.shape), "native": window_call(copies[True], case.shape)}
    times = time_part(case.part, case.shape, MOST_SECONDS / 3, bf16=bf16)
    seconds = interleaved(calls, repeats=repeats)
    median = {name: statistics.median(found) for name, found in seconds.items()}
    rule = case.part.native_from.includes(case.part.native_size, "cpu", bf16=bf16)
    native = rule if times is None else times.prefers_native(rule)
    chosen = "native" if native else "torch"
    return {
        "name": f"{case.name}, {precision}",
        "milliseconds": {name: 1e3 * found for name, found in median.items()},
        "rule": "native" if rule else "torch",
        "chosen": chosen,
        "measured": times is not None,
        "regret": median[chosen] / min(median.values()) - 1,
        "ratio": median["torch"] / median[chosen],
    }
