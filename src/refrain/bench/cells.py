"""A layer's window against its step under autograd: what deriving the way back by hand is worth."""

from collections.abc import Callable
from typing import Any

import torch

from refrain.config import Experiment
from refrain.evaluation.timing import interleaved, rows_against
from refrain.nn import GRU, LSTM, MultiplicativeLSTM, scan

LAYERS = {"lstm": LSTM, "gru": GRU, "mlstm": MultiplicativeLSTM}
WIDTHS = (128, 512)
STEPS, BATCH = 256, 32


def bench_cells(experiment: Experiment, *, repeats: int) -> list[dict[str, Any]]:
    """Tokens per second of one layer, forward and backward, at 128 and 512 wide, with torch's LSTM beside it.

    Windows of 256 steps and 32 sequences.

    Args:
        experiment: its cell and seed.
        repeats: how many timed calls of each.
    """
    rows = []
    for width in WIDTHS:
        torch.manual_seed(experiment.training.seed)
        layer = LAYERS[experiment.model.cell](width, width)
        inputs = torch.randn(STEPS, BATCH, width)

        def timed(forward: Callable[..., Any], inputs: Any, start: Any) -> Callable[[], None]:
            return lambda: forward(inputs, start)[0].sum().backward()

        own: Any = layer
        candidates = {
            "step by step": timed(lambda x, s, step=own.step: scan(step, x, s), inputs, own.initial_state(BATCH)),
            experiment.model.cell: timed(own, inputs, own.initial_state(BATCH)),
            "torch's LSTM": timed(torch.nn.LSTM(width, width), inputs, None),
        }
        seconds = interleaved(candidates, repeats=repeats)
        rows += rows_against("step by step", seconds, STEPS * BATCH, "tokens/s", prefix=f"{width} wide, ")
    return rows
