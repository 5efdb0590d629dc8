"""The figures of a model before and after compression."""

import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from refrain.bench.timing import interleaved
from refrain.data import Corpus
from refrain.evaluation import evaluate, protocol_windows
from refrain.models import LanguageModel, Stepper
from refrain.nn.kernels.packed_linear import WeightType
from refrain.progress import Reporter, timing_reports
from refrain.sparsity import layer_multiply_adds, multiply_adds

REPEATS, STEPS = 7, 50


class Measured(NamedTuple):
    """A model to measure.

    Attributes:
        model: the model, whose weights are rounded if they are int8.
        size: the size of its weights on disk, in bytes.
        weights: dtype of its weights.
    """

    model: LanguageModel
    size: int
    weights: WeightType


def figures_of(models: list[Measured], corpus: Corpus, split: str, reports: Reporter) -> dict[str, dict[str, Any]]:
    """Return the sizes, perplexity and speed of each model, which are timed in turns: before, after, finetuned."""
    found: list[dict[str, Any]] = []
    for model, size, _ in models:
        widths = model.widths()
        windows = protocol_windows(corpus.splits[split].tokens, "exact", split=split, window_steps=0, name=corpus.name)
        found.append(
            {
                "widths": widths,
                "parameters": sum(parameter.numel() for parameter in model.parameters()),
                "bytes": size,
                "multiply_adds": multiply_adds(model.axes(), widths),
                "layer_multiply_adds": layer_multiply_adds(model.axes(), widths),
                "perplexity": evaluate(model, windows, track=reports.track).perplexity,
            }
        )
    steppers = [Stepper(model, weights=weights) for model, _, weights in models]
    with timing_reports(reports).step("timing the models"):
        step = interleaved({str(i): _steps(stepper) for i, stepper in enumerate(steppers)}, repeats=REPEATS)
        window = interleaved({str(i): _window(stepper) for i, stepper in enumerate(steppers)}, repeats=REPEATS)
    for index, figures in enumerate(found):
        figures["ms_per_token"] = 1000 * statistics.median(step[str(index)]) / STEPS
        figures["tokens_per_second"] = 20 * 35 / statistics.median(window[str(index)])
    return dict(zip(("before", "after", "finetuned"), found, strict=False))


def _steps(stepper: Stepper) -> Callable[[], None]:
    ids = torch.zeros(1, dtype=torch.int64)

    def run() -> None:
        state = stepper.initial_state(1)
        for _ in range(STEPS):
            _, state = stepper.step(ids, state)

    return run


def _window(stepper: Stepper) -> Callable[[], None]:
    ids = torch.zeros(35, 20, dtype=torch.int64)
    return lambda: stepper.token_nats(ids, ids, stepper.initial_state(20)) and None
