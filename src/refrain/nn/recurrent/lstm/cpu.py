"""A window of an LSTM by the library's kernels: large products for all steps at once, the loop in one call.

Equal to `lstm_step` along time; the way back is the one of `window_scan`, in C++ (nn/kernels/cpp/lstm.cpp).

T steps in the window, B sequences, I input width, H hidden width.
"""

from typing import Any

import torch
from torch import Tensor

from refrain.nn.kernels.buffer_pool import BufferPool
from refrain.nn.kernels.matmul import product
from refrain.nn.kernels.workspace import LANES, Loan, check_open, run, weight_gradient, whole_panels


def lstm_window(
    pool: BufferPool,
    bf16: bool,
    inputs: Tensor,
    hidden: Tensor,
    cell: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    bias: Tensor,
) -> tuple[Tensor, Tensor]:
    """A window, to be differentiated once.

    Args:
        pool: the layer's buffers.
        bf16: round the operands of all products to bfloat16; sums, cells and state are float32 in any case.
        inputs: (T, B, I).
        hidden: (B, H), before the first step.
        cell: (B, H), before the first step.
        w_ih: (4H, I).
        w_hh: (4H, H).
        bias: (4H,).

    Returns:
        Outputs (T, B, H), the last of which is the hidden state after the window, and the cell after it (B, H).
    """
    return _Window.apply(pool, bf16, inputs, hidden, cell, w_ih, w_hh, bias)  # type: ignore[no-any-return, no-untyped-call]


class _Window(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pool: BufferPool, bf16: bool, inputs: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        hidden, cell, w_ih, w_hh, bias = (tensor.contiguous() for tensor in tensors)
        (steps, batch, _), width = inputs.shape, hidden.shape[1]
        kind = torch.bfloat16 if bf16 else torch.float32
        ctx.loan = Loan(pool, hidden)
        x, w_x = ctx.loan.rounded(inputs, kind), ctx.loan.rounded(w_ih, kind)
        cells, gates = ctx.loan.take((steps + 1, batch, width)), ctx.loan.take((steps, batch, 4 * width))
        before = ctx.loan.take((steps, batch, width), kind)
        outputs, passing = hidden.new_empty(steps, batch, width), Loan(pool, hidden)
        projected = product(x.flatten(0, 1), w_x.T)
        run(
            *("lstm", "forward", kind),
            *(projected, bias, hidden, cell, w_hh),
            *(outputs, cells, gates, before, workspace(passing, 1, batch, width)),
            *(1, steps, batch, width),
        )
        passing.give_back()
        ctx.tape = before, cells, gates
        # so that a change in place before the way back is found
        ctx.save_for_backward(x, w_x, w_hh)
        return outputs, cells[-1].clone()

    @staticmethod
    def backward(ctx: Any, d_outputs: Tensor, d_cell: Tensor) -> tuple[Any, ...]:
        check_open(ctx.loan, "LSTM")
        (x, w_x, w_hh), (before, cells, gates) = ctx.saved_tensors, ctx.tape
        steps, batch, width = before.shape
        d_cell, d_hidden = d_cell.clone(memory_format=torch.contiguous_format), w_hh.new_empty(batch, width)
        d_bias = w_hh.new_zeros(4 * width)
        d_gates = ctx.loan.take(gates.shape, before.dtype)
        run(
            *("lstm", "backward", before.dtype),
            *(d_outputs.contiguous(), cells, gates, w_hh, d_cell, d_bias, d_hidden, d_gates),
            *(workspace(ctx.loan, 1, batch, width), 1, steps, batch, width),
        )
        need = ctx.needs_input_grad
        d_inputs = product(d_gates.flatten(0, 1), w_x).float().view_as(x) if need[2] else None
        d_w_ih = weight_gradient(d_gates, x) if need[5] else None
        d_w_hh = weight_gradient(d_gates, before) if need[6] else None
        ctx.loan.give_back()
        ctx.tape = None
        return None, None, d_inputs, d_hidden, d_cell, d_w_ih, d_w_hh, d_bias


def workspace(loan: Loan, blocks: int, batch: int, width: int) -> Tensor:
    """Room for packed weights, packed rows of two steps, and the sums of each thread, as lstm.cpp says.

    Args:
        loan: where it is borrowed.
        blocks: LSTMs side by side.
        batch: B.
        width: H, of one of them.
    """
    wide = whole_panels(width)
    each = 4 * wide * (wide + LANES) + 8 * batch * wide
    return loan.take((blocks * each + 4 * LANES * batch * torch.get_num_threads(),))
