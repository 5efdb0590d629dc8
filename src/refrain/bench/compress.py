"""The speed of a model of smaller widths, as compaction leaves it, compared with the dense model."""

from collections.abc import Callable
from typing import Any

import torch

from refrain.assembly import build_model
from refrain.config import Experiment
from refrain.errors import UserError
from refrain.models import Stepper

from .limits import limit_rows, limits, matrix_entries, share_of_copy, share_of_limit
from .timing import interleaved, rows_against
from .train import VOCABULARY

BATCH, STEPS = 20, 35


def bench_compress(
    experiment: Experiment, *, hidden_sizes: tuple[int, ...], tokens: int, repeats: int
) -> list[dict[str, Any]]:
    """Measure the tokens per second of a dense model and of one with smaller hidden widths, in turns, with the head.

    Both run as steppers: one token at a time at batch 1, and windows of 35 steps at batch 20. The weights are random,
    which does not change the speed.

    Args:
        experiment: its model settings are the dense model's.
        hidden_sizes: the hidden widths of the smaller model; its embedding is as wide as that of the dense one.
        tokens: the number of tokens that a timed call reads one by one.
        repeats: the number of timed calls of each candidate.

    Returns:
        A row for each candidate and each limit.

    Raises:
        UserError: when `hidden_sizes` does not give a width for each layer.
    """
    if len(hidden_sizes) != len(experiment.model.hidden_sizes):
        raise UserError(
            f"bench compress needs a width for each of {len(experiment.model.hidden_sizes)} layers "
            f"(got {len(hidden_sizes)})"
        )
    torch.manual_seed(experiment.training.seed)
    steppers = {
        "-".join(map(str, sizes)): Stepper(
            build_model(experiment.model.model_copy(update={"hidden_sizes": sizes}), VOCABULARY)
        )
        for sizes in (experiment.model.hidden_sizes, hidden_sizes)
    }
    ids = torch.randint(VOCABULARY, (STEPS + 1, BATCH))
    rows: list[dict[str, Any]] = []
    seconds: dict[str, list[float]] = {}
    dense = next(iter(steppers))
    device = torch.device("cpu")
    single = {sizes: _steps(stepper, tokens) for sizes, stepper in steppers.items()}
    windows = {sizes: _window(stepper, ids) for sizes, stepper in steppers.items()}
    for name, count, candidates in (
        ("batch 1, a token at a time", tokens, single),
        (f"batch {BATCH}, {STEPS} steps", STEPS * BATCH, windows),
    ):
        seconds = interleaved({**candidates, **limits(device)}, repeats=repeats)
        found = rows_against(
            dense, {sizes: seconds[sizes] for sizes in steppers}, count, "tokens/s", prefix=f"{name}: "
        )
        for line, (sizes, stepper) in zip(found, steppers.items(), strict=True):
            entries = matrix_entries(stepper.model.stack, stepper.model.head)
            if candidates is single:
                line["of_copy"] = share_of_copy(seconds, sizes, 4 * entries * count, device)
            else:
                line["of_limit"] = share_of_limit(seconds, sizes, 2 * entries * count, "float32", device)
        rows += found
    return rows + limit_rows(seconds, device)


def _steps(stepper: Stepper, tokens: int) -> Callable[[], None]:
    ids = torch.arange(tokens)[:, None] % VOCABULARY

    def run() -> None:
        state = stepper.initial_state(1)
        for token in ids:
            _, state = stepper.step(token, state)

    return run


def _window(stepper: Stepper, ids: torch.Tensor) -> Callable[[], None]:
    def run() -> None:
        stepper.token_nats(ids[:-1], ids[1:], stepper.initial_state(BATCH))

    return run
