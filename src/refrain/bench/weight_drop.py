"""The cost of weight drop in a training step."""

from typing import Any

import torch

from refrain.assembly import build_model
from refrain.config import Experiment
from refrain.errors import UserError

from .limits import limit_rows, limits, matrix_entries, precisions, share_of_limit
from .timing import interleaved, rows_against
from .train import VOCABULARY, random_windows, trainer


def bench_weight_drop(
    experiment: Experiment, *, windows: int, repeats: int, device: torch.device
) -> list[dict[str, Any]]:
    """Measure the tokens per second of training with and without weight drop in each precision, in turns.

    Args:
        experiment: its model and training settings are used; it must have weight drop.
        windows: the number of windows that a timed call trains on.
        repeats: the number of timed calls of each candidate.
        device: the device to measure on.

    Returns:
        A row for each candidate and each limit.

    Raises:
        UserError: when the experiment has no weight drop.
    """
    settings = experiment.training
    if not experiment.model.weight_drop:
        raise UserError(f"bench weight-drop needs a recipe with model.weight_drop (got {experiment.name})")
    without = experiment.model.model_copy(
        update={"weight_drop": 0.0, "weight_drop_on": "recurrent", "weight_drop_granularity": "entry"}
    )
    text = random_windows(windows, settings.window_steps, settings.batch_size, device)
    tokens = windows * settings.window_steps * settings.batch_size
    candidates = {
        f"{name}, {precision}": trainer(shape, settings.model_copy(update={"precision": precision}), text)
        for precision in precisions(device)
        for name, shape in (("without", without), ("with weight drop", experiment.model))
    }
    seconds = interleaved({**candidates, **limits(device)}, repeats=repeats)
    model = build_model(experiment.model, VOCABULARY)
    flops = 6 * tokens * matrix_entries(model.stack, model.head)
    rows: list[dict[str, Any]] = []
    for precision in precisions(device):
        pair = {name: seconds[name] for name in candidates if name.endswith(precision)}
        found = rows_against(f"without, {precision}", pair, tokens, "tokens/s")
        for line in found:
            line["of_limit"] = share_of_limit(seconds, line["name"], flops, precision, device)
        rows += found
    return rows + limit_rows(seconds, device)
