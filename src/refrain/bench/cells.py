"""The speed of a layer's hand-written backward pass, compared with its step function under autograd."""

import copy
from collections.abc import Callable
from typing import Any

import torch

from refrain.assembly.network import layer_class
from refrain.config import Experiment
from refrain.nn import scan
from refrain.nn.kernels.backend import Backend, use_backend

from .limits import limit_rows, limits, precisions, share_of_limit
from .timing import interleaved, rows_against

STEPS, BATCH = 256, 32


def bench_cells(
    experiment: Experiment, *, repeats: int, widths: tuple[int, ...], device: torch.device
) -> list[dict[str, Any]]:
    """Measure the tokens per second of one layer, forward and backward, and of torch's LSTM (cuDNN's on a GPU).

    A window has 256 steps and a batch of 32. The layer runs with torch's operations (plain) and with native kernels,
    if it has any.

    Args:
        experiment: its cell and its seed are used.
        repeats: the number of timed calls of each candidate.
        widths: the widths to measure; each is the width of the inputs and of the layer.
        device: the device to measure on.

    Returns:
        A row for each candidate and each limit.
    """
    cell = experiment.model.cell.kind
    rows: list[dict[str, Any]] = []
    seconds: dict[str, list[float]] = {}
    for width in widths:
        torch.manual_seed(experiment.training.seed)
        layer: Any = layer_class(experiment.model)(width, width).to(device)
        inputs = torch.randn(STEPS, BATCH, width, device=device, requires_grad=True)
        start = layer.initial_state(BATCH)
        candidates = {
            "step by step": _timed(lambda x, s, step=layer.step: scan(step, x, s), inputs, start),
            f"{cell}, plain": _timed(layer, inputs, start),
        }
        for precision in precisions(device) if hasattr(layer, "backends") else ():
            native = copy.deepcopy(layer)
            use_backend(native, Backend(native=True, bf16=precision == "bf16"))
            candidates[f"{cell}, kernels, {precision}"] = _timed(native, inputs, start)
        candidates["torch's LSTM"] = _timed(torch.nn.LSTM(width, width).to(device), inputs, None)
        seconds = interleaved({**candidates, **limits(device)}, repeats=repeats)
        found = rows_against(
            "step by step",
            {name: seconds[name] for name in candidates},
            STEPS * BATCH,
            "tokens/s",
            prefix=f"{width} wide, ",
        )
        for line, name in zip(found, candidates, strict=True):
            weights = torch.nn.LSTM(width, width) if name == "torch's LSTM" else layer
            entries = sum(weight.numel() for weight in weights.parameters() if weight.ndim == 2)
            precision = "bf16" if name.endswith("bf16") else "float32"
            line["of_limit"] = share_of_limit(seconds, name, 6 * entries * STEPS * BATCH, precision, device)
        rows += found
    return rows + limit_rows(seconds, device)


def _timed(forward: Callable[..., Any], inputs: Any, start: Any) -> Callable[[], None]:
    return lambda: forward(inputs, start)[0].sum().backward()
