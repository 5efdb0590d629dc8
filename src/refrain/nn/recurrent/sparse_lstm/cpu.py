"""A window of many LSTMs side by side by the library's kernels: one loop over time for all of them.

Equal to the blocks of a `SparseLSTM` in turn. The kernels are those of the LSTM (nn/kernels/cpp/lstm.cpp),
for k blocks.

T steps in the window, B sequences, I input width, k blocks of h hidden units.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from refrain.nn.kernels.buffer_pool import BufferPool
from refrain.nn.kernels.matmul import product
from refrain.nn.kernels.workspace import Loan, check_open, run, weight_gradient
from refrain.nn.recurrent.lstm.cpu import workspace
from refrain.nn.segments import Block


def sparse_window(
    pool: BufferPool,
    bf16: bool,
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
        bf16: round the operands of all products to bfloat16; sums, cells and state are float32 in any case.
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
    arguments = (pool, bf16, blocks, inputs, hidden, cell, w_hh, bias, *w_ih)
    return _Window.apply(*arguments)  # type: ignore[no-any-return, no-untyped-call]


class _Window(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, pool: BufferPool, bf16: bool, blocks: Sequence[Block], inputs: Tensor, *tensors: Tensor
    ) -> tuple[Tensor, Tensor]:
        hidden, cell, w_hh, bias, *w_ih = (tensor.contiguous() for tensor in tensors)
        (steps, batch, _), (count, _, width) = inputs.shape, hidden.shape
        kind = torch.bfloat16 if bf16 else torch.float32
        ctx.loan, passing = Loan(pool, hidden), Loan(pool, hidden)
        # by itself, as products of a part of each row may take a library's slowest way
        seen = [ctx.loan.rounded(inputs[..., begin:end], kind).flatten(0, 1) for begin, end, _ in blocks]
        w_x = [ctx.loan.rounded(weight, kind) for weight in w_ih]
        projected = passing.take((count, steps * batch, 4 * width), kind)
        for part, x, weight in zip(projected, seen, w_x, strict=True):
            part.copy_(product(x, weight.T))
        cells, gates = ctx.loan.take((count, steps + 1, batch, width)), ctx.loan.take((count, steps, batch, 4 * width))
        before, outputs = (
            ctx.loan.take((count, steps, batch, width), kind),
            hidden.new_empty(count, steps, batch, width),
        )
        run(
            *("lstm", "forward", kind),
            *(projected, bias, hidden, cell, w_hh),
            *(outputs, cells, gates, before, workspace(passing, count, batch, width)),
            *(count, steps, batch, width),
        )
        passing.give_back()
        ctx.blocks, ctx.tape = blocks, (inputs.shape, before, cells, gates)
        # so that a change in place before the way back is found
        ctx.save_for_backward(w_hh, *seen, *w_x)
        return outputs, cells[:, -1].clone()

    @staticmethod
    def backward(ctx: Any, d_outputs: Tensor, d_cell: Tensor) -> tuple[Any, ...]:
        check_open(ctx.loan, "SparseLSTM")
        shape, before, cells, gates = ctx.tape
        count, steps, batch, width = before.shape
        w_hh, *operands = ctx.saved_tensors
        seen, w_x = operands[:count], operands[count:]
        d_cell, d_bias = d_cell.clone(memory_format=torch.contiguous_format), w_hh.new_zeros(count, 4 * width)
        d_hidden, d_gates = w_hh.new_empty(count, batch, width), ctx.loan.take(gates.shape, before.dtype)
        run(
            *("lstm", "backward", before.dtype),
            *(d_outputs.contiguous(), cells, gates, w_hh, d_cell, d_bias, d_hidden, d_gates),
            *(workspace(ctx.loan, count, batch, width), count, steps, batch, width),
        )
        d_inputs, d_w_ih = w_hh.new_zeros(shape), []
        for part, x, weight, (begin, end, _) in zip(d_gates.flatten(1, 2), seen, w_x, ctx.blocks, strict=True):
            d_inputs.flatten(0, 1)[:, begin:end] += product(part, weight)
            d_w_ih.append(product(part.T, x).float())
        d_w_hh = torch.stack([weight_gradient(part, own) for part, own in zip(d_gates, before, strict=True)])
        ctx.loan.give_back()
        ctx.tape = None
        return None, None, None, d_inputs, d_hidden, d_cell, d_w_hh, d_bias, *d_w_ih
