"""A layer's window against its step under autograd: what deriving the way back by hand is worth."""

from collections.abc import Callable
from typing import Any

import torch

from refrain.config import Experiment
from refrain.evaluation.timing import interleaved, row
from refrain.nn import GRU, LSTM, MultiplicativeLSTM, scan

LAYERS = {"lstm": LSTM, "gru": GRU, "mlstm": MultiplicativeLSTM}
WIDTHS = (128, 512)


def bench_cells(experiment: Experiment, *, repeats: int) -> list[dict[str, Any]]:
    """Tokens per second of one layer, forward and backward, at 128 and 512 wide, with torch's LSTM beside it.

    Args:
        experiment: its cell, batch size and window.
        repeats: how many timed calls of each.
    """
    steps, batch = experiment.training.window_steps, experiment.training.batch_size
    rows = []
    for width in WIDTHS:
        torch.manual_seed(experiment.training.seed)
        layer = LAYERS[experiment.model.cell](width, width)
        inputs = torch.randn(steps, batch, width)

        def timed(forward: Callable[..., Any], inputs: Any, start: Any) -> Callable[[], None]:
            return lambda: forward(inputs, start)[0].sum().backward()

        own: Any = layer
        candidates = {
            "step by step": timed(lambda x, s, step=own.step: scan(step, x, s), inputs, own.initial_state(batch)),
            experiment.model.cell: timed(own, inputs, own.initial_state(batch)),
            "torch's LSTM": timed(torch.nn.LSTM(width, width), inputs, None),
        }
        seconds = interleaved(candidates, repeats=repeats)
        for name, times in seconds.items():
            ratios = [base / s for base, s in zip(seconds["step by step"], times, strict=True)]
            rows.append(row(f"{width} wide, {name}", [steps * batch / s for s in times], "tokens/s", ratios=ratios))
    return rows
