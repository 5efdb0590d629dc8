"""A window of many LSTMs side by side as one window scan: their sequences stand beneath each other, the product is one.

Equal to the blocks of a `SparseLSTM` in turn; for GPUs, where each step of each block would be launches of its own.

T steps in the window, B sequences, I input width, k blocks of h hidden units.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from refrain.nn.kernels.backend import Engine
from refrain.nn.kernels.buffer_pool import BufferPool
from refrain.nn.kernels.workspace import Loan
from refrain.nn.recurrent.lstm.scan import linear, window_scan
from refrain.nn.recurrent.protocol import run_kernel
from refrain.nn.segments import Block


def sparse_scan(
    pool: BufferPool,
    engine: Engine,
    blocks: Sequence[Block],
    inputs: Tensor,
    hidden: Tensor,
    cell: Tensor,
    w_hh: Tensor,
    bias: Tensor,
    *w_ih: Tensor,
) -> tuple[Tensor, Tensor]:
    """A window, to be differentiated once.

    Args:
        pool: the layer's buffers.
        engine: what the window is computed with.
        blocks: the inputs that each block sees.
        inputs: (T, B, I).
        hidden: (k, B, h), before the first step.
        cell: (k, B, h), before the first step.
        w_hh: (k, 4h, h).
        bias: (k, 4h).
        w_ih: of each block, (4h, its inputs).

    Returns:
        Outputs (k, T, B, h), the last of which is the hidden state after the window, and the cells after it (k, B, h).
    """
    seen = zip(blocks, w_ih, bias, strict=True)
    projected = [linear(inputs[..., begin:end], weight, own, engine) for (begin, end, _), weight, own in seen]
    outputs, after = run_kernel(
        *(window_scan, BlocksRecurrence, pool, engine),
        *(torch.cat(projected, 1), hidden.flatten(0, 1), cell.flatten(0, 1), w_hh),
    )
    return outputs.unflatten(1, hidden.shape[:2]).transpose(0, 1), after.view_as(hidden)


class BlocksRecurrence:
    """Hidden states of k blocks -> their gates, by a matrix each; see `Recurrence`. Rows are blocks times sequences.

    Args:
        tensors: w_hh (k, 4h, h).
        loan: where memory is taken.
        steps: how many are remembered.
        kind: the type of the products.
    """

    def __init__(self, tensors: Sequence[Tensor], loan: Loan, *, steps: int, kind: torch.dtype) -> None:
        self._w_hh = loan.rounded(tensors[0], kind)
        self._transposed = self._w_hh.mT
        self._apart = (len(self._w_hh), -1)

    def forward(self, step: int, hidden: Tensor, out: Tensor) -> None:
        """The hidden states' part of the gates: (k B, h) -> (k B, 4h)."""
        torch.bmm(hidden.unflatten(0, self._apart), self._transposed, out=out.unflatten(0, self._apart))

    def backward(self, step: int, d_gates: Tensor, out: Tensor) -> None:
        """The gradient of the hidden states before a step."""
        torch.bmm(d_gates.unflatten(0, self._apart), self._w_hh, out=out.unflatten(0, self._apart))

    def gradients(self, d_gates: Tensor, hidden: Tensor) -> tuple[Tensor, ...]:
        """Of the weights, one product a block."""
        apart = (part.unflatten(1, self._apart).unbind(1) for part in (d_gates, hidden))
        return (torch.stack([rows.flatten(0, 1).T @ own.flatten(0, 1) for rows, own in zip(*apart, strict=True)]),)
