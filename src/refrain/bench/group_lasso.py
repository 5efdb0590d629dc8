"""The cost of group lasso in a training step."""

from collections.abc import Callable
from typing import Any

import torch

from refrain.assembly import build_model, build_optimizer
from refrain.assembly.choosing import choose_measured, window_shape
from refrain.assembly.task import build_methods
from refrain.config import Experiment, GroupLasso, Sparsity, ThresholdZeros

from .limits import limit_rows, limits, matrix_entries, share_of_limit
from .timing import interleaved, rows_against
from .train import VOCABULARY, random_windows, training_loop

# so weak that no unit dies during the measurement; the cost is the same for any strength
STRENGTH, SMALLEST = 1e-9, 1e-30


def bench_group_lasso(
    experiment: Experiment, *, windows: int, repeats: int, device: torch.device
) -> list[dict[str, Any]]:
    """Measure the tokens per second of training without group lasso, with proximal steps, and with a threshold.

    Args:
        experiment: its model and training settings are used; group lasso acts on all widths that can be reduced.
        windows: the number of windows that a timed call trains on.
        repeats: the number of timed calls of each candidate.
        device: the device to measure on.

    Returns:
        A row for each candidate and each limit.
    """
    settings = experiment.training
    text = random_windows(windows, settings.window_steps, settings.batch_size, device)
    proximal = Sparsity(group_lasso=GroupLasso(strength=STRENGTH))
    threshold = proximal.model_copy(update={"zeros": ThresholdZeros(threshold=SMALLEST)})
    seconds = interleaved(
        {
            "without": _trainer(experiment, Sparsity(), text),
            "proximal steps": _trainer(experiment, proximal, text),
            "gradient and threshold": _trainer(experiment, threshold, text),
            **limits(device),
        },
        repeats=repeats,
    )
    tokens = windows * settings.window_steps * settings.batch_size
    model = build_model(experiment.model, VOCABULARY)
    flops = 6 * tokens * matrix_entries(model.stack, model.head)
    rows = rows_against("without", {name: seconds[name] for name in list(seconds)[:3]}, tokens, "tokens/s")
    for line in rows:
        line["of_limit"] = share_of_limit(seconds, line["name"], flops, "float32", device)
    return rows + limit_rows(seconds, device)


def _trainer(
    experiment: Experiment, sparsity: Sparsity, text: list[tuple[torch.Tensor, torch.Tensor]]
) -> Callable[[], None]:
    settings = experiment.training
    torch.manual_seed(settings.seed)
    model = build_model(experiment.model, VOCABULARY).to(text[0][0].device)
    choose_measured(settings, model, window_shape(settings, experiment.model, VOCABULARY))
    optimizer = build_optimizer(settings, model)
    # with many steps in total, the model is inspected as rarely as in a real run
    methods = build_methods(experiment.model_copy(update={"sparsity": sparsity}), model, steps=1_000_000)
    return training_loop(model, text, settings, optimizer, methods.hooks())
