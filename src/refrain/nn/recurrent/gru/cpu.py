"""A window of a GRU by the library's kernels: large products for all steps at once, the loop in one call.

Equal to `gru_step` along time. The way back, in C++ (nn/kernels/cpp/gru.cpp), with r, u, c after their activations and
p the candidate's part of the recurrent product, from the last step to the first:

    dc = dh (1 - u) (1 - c c)      dr = dc p r (1 - r)      du = dh (h_before - c) u (1 - u)
    dh_before = dh u + (dr, du, dc r) W_hh

where (dr, du, dc) goes to the input's part of the gates.

T steps in the window, B sequences, I input width, H hidden width.
"""

from typing import Any

import torch
from torch import Tensor

from refrain.nn.kernels.buffer_pool import BufferPool
from refrain.nn.kernels.matmul import product
from refrain.nn.kernels.workspace import LANES, Loan, check_open, run, weight_gradient, whole_panels


def gru_window(
    pool: BufferPool, bf16: bool, inputs: Tensor, hidden: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor
) -> Tensor:
    """A window, to be differentiated once.

    Args:
        pool: the layer's buffers.
        bf16: round the operands of all products to bfloat16; sums and state are float32 in any case.
        inputs: (T, B, I).
        hidden: (B, H), before the first step.
        w_ih: (3H, I).
        w_hh: (3H, H).
        bias: (3H,).

    Returns:
        Outputs (T, B, H), the last of which is the hidden state after the window.
    """
    return _Window.apply(pool, bf16, inputs, hidden, w_ih, w_hh, bias)  # type: ignore[no-any-return, no-untyped-call]


class _Window(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pool: BufferPool, bf16: bool, inputs: Tensor, *tensors: Tensor) -> Tensor:
        hidden, w_ih, w_hh, bias = (tensor.contiguous() for tensor in tensors)
        (steps, batch, _), width = inputs.shape, hidden.shape[1]
        kind = torch.bfloat16 if bf16 else torch.float32
        ctx.loan = Loan(pool, hidden)
        x, w_x = ctx.loan.rounded(inputs, kind), ctx.loan.rounded(w_ih, kind)
        gates, before = ctx.loan.take((steps, batch, 4 * width)), ctx.loan.take((steps, batch, width), kind)
        outputs, passing = hidden.new_empty(steps, batch, width), Loan(pool, hidden)
        projected = product(x.flatten(0, 1), w_x.T)
        run(
            *("gru", "forward", kind, projected, bias, hidden, w_hh),
            *(outputs, gates, before, _workspace(passing, batch, width), steps, batch, width),
        )
        passing.give_back()
        ctx.tape = before, gates
        # so that a change in place before the way back is found
        ctx.save_for_backward(x, w_x, w_hh, hidden, outputs)
        return outputs

    @staticmethod
    def backward(ctx: Any, d_outputs: Tensor) -> tuple[Any, ...]:
        check_open(ctx.loan, "GRU")
        (x, w_x, w_hh, hidden, outputs), (before, gates) = ctx.saved_tensors, ctx.tape
        steps, batch, width = before.shape
        d_hidden, d_bias = torch.zeros_like(hidden), hidden.new_zeros(3 * width)
        d_projected, d_recurrent = (ctx.loan.take((steps, batch, 3 * width), before.dtype) for _ in range(2))
        run(
            *("gru", "backward", before.dtype, d_outputs.contiguous(), outputs, hidden, gates, w_hh),
            *(d_hidden, d_bias, d_projected, d_recurrent, _workspace(ctx.loan, batch, width), steps, batch, width),
        )
        need = ctx.needs_input_grad
        d_inputs = product(d_projected.flatten(0, 1), w_x).float().view_as(x) if need[2] else None
        d_w_ih = weight_gradient(d_projected, x) if need[4] else None
        d_w_hh = weight_gradient(d_recurrent, before) if need[5] else None
        ctx.loan.give_back()
        ctx.tape = None
        return None, None, d_inputs, d_hidden, d_w_ih, d_w_hh, d_bias


def _workspace(loan: Loan, batch: int, width: int) -> Tensor:
    """Room for the packed weight, packed rows of two steps, and the sums of each thread, as gru.cpp says."""
    wide = whole_panels(width)
    return loan.take((3 * wide * wide + 6 * batch * wide + 3 * LANES * batch * torch.get_num_threads(),))
