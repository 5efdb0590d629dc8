"""What weight drop costs in a training step."""

from typing import Any

import torch

from refrain.build import build_model, build_optimizer
from refrain.config import Experiment
from refrain.errors import UserError
from refrain.evaluation.timing import interleaved, row
from refrain.training import Hooks, train_round

from .train import VOCABULARY, random_windows


def bench_weight_drop(experiment: Experiment, *, windows: int, repeats: int) -> list[dict[str, Any]]:
    """Tokens per second of training with and without weight drop, all else equal, in turns.

    Args:
        experiment: its model and training settings; must have weight drop.
        windows: how many a timed call trains.
        repeats: how many timed calls of each.

    Raises:
        UserError: when the experiment has no weight drop.
    """
    settings = experiment.training
    if not experiment.model.weight_drop:
        raise UserError(f"bench weight-drop needs a recipe with model.weight_drop (got {experiment.name})")
    without = experiment.model.model_copy(
        update={"weight_drop": 0.0, "weight_drop_on": "recurrent", "weight_drop_granularity": "entry"}
    )
    text = random_windows(windows, settings.window_steps, settings.batch_size)

    def trainer(shape: Any) -> Any:
        torch.manual_seed(settings.seed)
        model = build_model(shape, VOCABULARY)
        optimizer = build_optimizer(settings, model)

        def run() -> None:
            train_round(
                model,
                text,
                model.initial_state(settings.batch_size),
                optimizer,
                loss_scale=settings.loss_scale,
                max_norm=settings.max_norm,
                hooks=Hooks(),
            )

        return run

    candidates = {"without": trainer(without), "with weight drop": trainer(experiment.model)}
    seconds = interleaved(candidates, repeats=repeats)
    tokens = windows * settings.window_steps * settings.batch_size
    rows = []
    for name, times in seconds.items():
        ratios = [base / s for base, s in zip(seconds["without"], times, strict=True)]
        rows.append(row(name, [tokens / s for s in times], "tokens/s", ratios=ratios))
    return rows
