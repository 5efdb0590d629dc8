"""A window of many LSTMs side by side as one scan, whose batch is that of all blocks together.

Equal to the blocks of a `SparseLSTM` in turn. For a GPU, where each step of each block would be several launches.

T steps in the window, B batch, I input width, k blocks of h hidden units.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from refrain.nn.kernels.workspace import Workspace
from refrain.nn.recurrent.lstm.scan import linear, scan_recurrence
from refrain.nn.recurrent.protocol import Context

from .blocks import Blocks, joined, split_units


def scan_window(
    context: Context, inputs: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A window that can be differentiated once; see `Window`. Weights: w_ih, w_hh and bias of each block in turn."""
    own = Blocks.of(weights)
    seen = zip(context.blocks, own.w_ih, own.bias, strict=True)
    projected = [
        linear(inputs[..., begin:end], weight, bias, context.backend) for (begin, end, _), weight, bias in seen
    ]
    hidden, cell = (split_units(part, context.blocks) for part in state)
    outputs, after = scan_recurrence(
        BlocksRecurrence,
        context.pool,
        context.backend,
        torch.cat(projected, 1),
        hidden.flatten(0, 1),
        cell.flatten(0, 1),
        own.w_hh,
    )
    outputs = joined(outputs.unflatten(1, hidden.shape[:2]).transpose(0, 1), context.blocks)
    # a copy, as operations may change outputs in place
    return outputs, (outputs[-1].clone(), joined(after.view_as(hidden), context.blocks))


class BlocksRecurrence:
    """The hidden states of k blocks reach their gates through a matrix each; see `Recurrence`, with a batch of k B.

    Args:
        tensors: w_hh (k, 4h, h).
        workspace: where memory is allocated.
        steps: not used.
        dtype: of matmul inputs.
    """

    def __init__(self, tensors: Sequence[Tensor], workspace: Workspace, *, steps: int, dtype: torch.dtype) -> None:
        self._w_hh = workspace.cast(tensors[0], dtype)
        self._transposed = self._w_hh.mT
        self._by_block = (len(self._w_hh), -1)

    def forward(self, step: int, hidden: Tensor, out: Tensor) -> None:
        """The recurrent part of the gates, (k B, h) -> (k B, 4h); see `Recurrence.forward`."""
        torch.bmm(hidden.unflatten(0, self._by_block), self._transposed, out=out.unflatten(0, self._by_block))

    def backward(self, step: int, d_gates: Tensor, out: Tensor) -> None:
        """The gradient of the hidden states before a step; see `Recurrence.backward`."""
        torch.bmm(d_gates.unflatten(0, self._by_block), self._w_hh, out=out.unflatten(0, self._by_block))

    def gradients(self, d_gates: Tensor, hidden: Tensor) -> tuple[Tensor, ...]:
        """The gradients of the weights, one matmul a block; see `Recurrence.gradients`."""
        d_blocks = d_gates.unflatten(1, self._by_block).unbind(1)
        hidden_blocks = hidden.unflatten(1, self._by_block).unbind(1)
        pairs = zip(d_blocks, hidden_blocks, strict=True)
        return (torch.stack([rows.flatten(0, 1).T @ own.flatten(0, 1) for rows, own in pairs]),)
