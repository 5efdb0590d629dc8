"""What weight drop costs in a training step."""

from collections.abc import Callable
from typing import Any

import torch

from refrain.build import build_model, build_optimizer
from refrain.config import Experiment, Model
from refrain.errors import UserError
from refrain.evaluation.timing import interleaved, rows_against
from refrain.training import Hooks

from .train import VOCABULARY, random_windows, training_loop


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

    def trainer(shape: Model) -> Callable[[], None]:
        torch.manual_seed(settings.seed)
        model = build_model(shape, VOCABULARY)
        return training_loop(model, text, settings, build_optimizer(settings, model), Hooks())

    candidates = {"without": trainer(without), "with weight drop": trainer(experiment.model)}
    tokens = windows * settings.window_steps * settings.batch_size
    return rows_against("without", interleaved(candidates, repeats=repeats), tokens, "tokens/s")
