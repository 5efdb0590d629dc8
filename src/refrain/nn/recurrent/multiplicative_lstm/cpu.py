"""A window of a multiplicative LSTM by the library's kernels: the loop over time in one call.

Equal to `multiplicative_lstm_step` along time; the way back is the one of `window_scan` with
`MultiplicativeRecurrence`, in C++ (nn/kernels/cpp/multiplicative_lstm.cpp).

T steps in the window, B sequences, I input width, H hidden width, M intermediate width.
"""

from typing import Any

import torch
from torch import Tensor

from refrain.nn.kernels.buffer_pool import BufferPool
from refrain.nn.kernels.matmul import product
from refrain.nn.kernels.workspace import LANES, Loan, check_open, run, weight_gradient, whole_panels


def multiplicative_lstm_window(
    pool: BufferPool,
    bf16: bool,
    inputs: Tensor,
    hidden: Tensor,
    cell: Tensor,
    w_im: Tensor,
    w_hm: Tensor,
    w_ih: Tensor,
    w_mh: Tensor,
    bias: Tensor,
) -> tuple[Tensor, Tensor]:
    """A window, to be differentiated once.

    Args:
        pool: the layer's buffers.
        bf16: round the operands of all products to bfloat16; sums, cells and state are float32 in any case.
        inputs: (T, B, I).
        hidden: (B, H), before the first step.
        cell: (B, H), before the first step.
        w_im: (M, I).
        w_hm: (M, H).
        w_ih: (4H, I).
        w_mh: (4H, M).
        bias: (4H,).

    Returns:
        Outputs (T, B, H), the last of which is the hidden state after the window, and the cell after it (B, H).
    """
    arguments = (pool, bf16, inputs, hidden, cell, w_im, w_hm, w_ih, w_mh, bias)
    return _Window.apply(*arguments)  # type: ignore[no-any-return, no-untyped-call]


class _Window(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pool: BufferPool, bf16: bool, inputs: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        hidden, cell, w_im, w_hm, w_ih, w_mh, bias = (tensor.contiguous() for tensor in tensors)
        (steps, batch, _), width, inner = inputs.shape, hidden.shape[1], w_im.shape[0]
        kind = torch.bfloat16 if bf16 else torch.float32
        loan = Loan(pool, hidden)
        x, to_inner, to_gates = (loan.rounded(tensor, kind) for tensor in (inputs, w_im, w_ih))
        cells, gates = loan.take((steps + 1, batch, width)), loan.take((steps, batch, 4 * width))
        before = loan.take((steps, batch, width), kind)
        products, intermediate = (loan.take((steps, batch, inner), kind) for _ in range(2))
        outputs, passing = hidden.new_empty(steps, batch, width), Loan(pool, hidden)
        projected, factors = product(x.flatten(0, 1), to_gates.T), product(x.flatten(0, 1), to_inner.T)
        run(
            *("multiplicative_lstm", "forward", kind),
            *(projected, factors, bias, hidden, cell, w_hm, w_mh),
            *(outputs, cells, gates, before, products, intermediate, _workspace(passing, batch, width, inner)),
            *(steps, batch, width, inner),
        )
        passing.give_back()
        ctx.loan = loan
        ctx.tape = before, cells, gates, factors, products, intermediate
        # so that a change in place before the way back is found
        ctx.save_for_backward(x, to_inner, to_gates, w_hm, w_mh)
        return outputs, cells[-1].clone()

    @staticmethod
    def backward(ctx: Any, d_outputs: Tensor, d_cell: Tensor) -> tuple[Any, ...]:
        check_open(ctx.loan, "MultiplicativeLSTM")
        x, to_inner, to_gates, w_hm, w_mh = ctx.saved_tensors
        before, cells, gates, factors, products, intermediate = ctx.tape
        (steps, batch, width), inner, loan = before.shape, w_hm.shape[0], ctx.loan
        d_cell, d_hidden = d_cell.clone(memory_format=torch.contiguous_format), w_hm.new_empty(batch, width)
        d_bias = w_hm.new_zeros(4 * width)
        d_gates = loan.take(gates.shape, before.dtype)
        d_factors, d_products = (loan.take(products.shape, before.dtype) for _ in range(2))
        run(
            *("multiplicative_lstm", "backward", before.dtype),
            *(d_outputs.contiguous(), cells, gates, factors, products, w_hm, w_mh),
            *(d_cell, d_bias, d_hidden, d_gates, d_factors, d_products, _workspace(loan, batch, width, inner)),
            *(steps, batch, width, inner),
        )
        d_inputs = None
        if ctx.needs_input_grad[2]:
            d_inputs = product(d_gates.flatten(0, 1), to_gates).float()
            d_inputs += product(d_factors.flatten(0, 1), to_inner)
            d_inputs = d_inputs.view_as(x)
        weights = (
            weight_gradient(d_factors, x),
            weight_gradient(d_products, before),
            weight_gradient(d_gates, x),
            weight_gradient(d_gates, intermediate),
        )
        loan.give_back()
        ctx.tape = None
        return None, None, d_inputs, d_hidden, d_cell, *weights, d_bias


def _workspace(loan: Loan, batch: int, width: int, inner: int) -> Tensor:
    """Room for packed weights, packed rows, and the sums of each thread, as multiplicative_lstm.cpp says."""
    wide, deep = whole_panels(width), whole_panels(inner)
    sums = 4 * LANES * batch * torch.get_num_threads()
    return loan.take((5 * (wide + LANES) * (deep + LANES) + batch * (4 * wide + deep) + sums,))
