"""The speed of a sparse layer, compared with a dense one of its widths and with its blocks as separate LSTMs."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from refrain.nn import SparseLSTM, SparsePlan, plan_reduction
from refrain.nn.kernels.backend import Backend, use_backend
from refrain.nn.recurrent.packed import pack_layer

from .limits import limit_rows, limits, matrix_entries, precisions, share_of_copy, share_of_limit
from .timing import interleaved, rows_against

LAYERS = ((1150, 0.5), (1725, 0.66666))
STEPS, BATCH = 70, 20
TOKENS = 20
"""The number of single steps in a timed call."""


def bench_sparse(*, repeats: int, device: torch.device) -> list[dict[str, Any]]:
    """Measure the tokens per second of hidden layers of the paper's models: width 1150 in 5 blocks, and 1725 in 3.

    Training is a forward and a backward pass over 70 steps at batch 20. One step is the forward pass of one token at
    batch 1.

    Args:
        repeats: the number of timed calls of each candidate.
        device: the device to measure on.

    Returns:
        A row for each candidate and each limit.
    """
    rows: list[dict[str, Any]] = []
    seconds: dict[str, list[float]] = {}
    for width, share in LAYERS:
        plan = plan_reduction(width, width, reduce_in=share, reduce_out=share)
        torch.manual_seed(1)
        layer = SparseLSTM(plan).to(device)
        dense = nn.LSTM(width, width).to(device)
        in_turn = BlocksInTurn(plan).to(device)
        inputs = torch.randn(STEPS, BATCH, width, device=device, requires_grad=True)
        training = {"dense": _trained(dense, inputs), "blocks in turn": _trained(in_turn, inputs)}
        for precision in precisions(device):
            native = copy.deepcopy(layer)
            use_backend(native, Backend(native=True, bf16=precision == "bf16"))
            training[f"SparseLSTM, {precision}"] = _trained(_from_zeros(native), inputs)
        seconds = interleaved({**training, **limits(device)}, repeats=repeats)
        found = {name: seconds[name] for name in training}
        entries = {name: matrix_entries(dense if name == "dense" else layer) for name in training}
        trained = rows_against("dense", found, STEPS * BATCH, "tokens/s", prefix=f"{width} wide, training, ")
        for line, name in zip(trained, training, strict=True):
            flops = 6 * entries[name] * STEPS * BATCH
            precision = "bf16" if name.endswith("bf16") else "float32"
            line["of_limit"] = share_of_limit(seconds, name, flops, precision, device)
        token = torch.randn(1, 1, width, device=device)
        steps = {
            "dense": _stepped(dense, token),
            "blocks in turn": _stepped(in_turn, token),
            "SparseLSTM": _stepped(_one_step(layer, layer.step), token),
            "SparseLSTM, stepper": _stepped(_one_step(layer, pack_layer(layer, "float32").step), token),
        }
        seconds = interleaved({**steps, **limits(device)}, repeats=repeats)
        found = {name: seconds[name] for name in steps}
        stepped = rows_against("dense", found, TOKENS, "tokens/s", prefix=f"{width} wide, one step, ")
        for line, name in zip(stepped, steps, strict=True):
            weights = dense if name == "dense" else layer
            line["of_copy"] = share_of_copy(seconds, name, 4 * matrix_entries(weights) * TOKENS, device)
        rows += trained + stepped
    return rows + limit_rows(seconds, device)


class BlocksInTurn(nn.Module):
    """The blocks of a plan as torch's LSTMs, called one after another as in the paper's code."""

    def __init__(self, plan: SparsePlan) -> None:
        super().__init__()
        self.plan = plan
        self.blocks = nn.ModuleList(nn.LSTM(block.end - block.begin, block.units) for block in plan.blocks)

    def forward(self, inputs: Tensor) -> tuple[Tensor]:
        """inputs (T, B, I) -> outputs (T, B, H)."""
        parts = zip(self.blocks, self.plan.blocks, strict=True)
        return (torch.cat([lstm(inputs[..., begin:end])[0] for lstm, (begin, end, _) in parts], -1),)


def _from_zeros(layer: SparseLSTM) -> Callable[[Tensor], Any]:
    return lambda inputs: layer(inputs, layer.initial_state(inputs.shape[1]))


def _one_step(layer: SparseLSTM, step: Callable[..., Any]) -> Callable[[Tensor], Any]:
    return lambda token: step(token[0], layer.initial_state(1))


def _trained(forward: Callable[[Tensor], Any], inputs: Tensor) -> Callable[[], None]:
    return lambda: forward(inputs)[0].sum().backward()


def _stepped(forward: Callable[[Tensor], Any], token: Tensor) -> Callable[[], None]:
    @torch.no_grad()
    def run() -> None:
        for _ in range(TOKENS):
            forward(token)

    return run
