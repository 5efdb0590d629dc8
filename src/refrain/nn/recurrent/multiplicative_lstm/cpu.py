"""A window of a multiplicative LSTM by C++ kernels: large matmuls, then the loop over the steps in one call.

Equal to `multiplicative_lstm_step` along time; the backward pass is that of scan.py, in C++
(nn/kernels/cpp/multiplicative_lstm.cpp).

T steps in the window, B batch, I input width, H hidden width, M intermediate width.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from refrain.nn.kernels.call import run_window
from refrain.nn.kernels.matmul import matmul, weight_gradients
from refrain.nn.kernels.workspace import Workspace, check_single_backward
from refrain.nn.recurrent.protocol import Context


def native_window(
    context: Context, inputs: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A window that can be differentiated once; see `Window`.

    Weights: w_im (M, I), w_hm (M, H), w_ih (4H, I), w_mh (4H, M), bias (4H,).
    """
    outputs, after = _Window.apply(context, inputs, *state, *weights)  # type: ignore[no-untyped-call]
    # a copy, as operations may change outputs in place
    return outputs, (outputs[-1].clone(), after)


class _Window(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, context: Context, inputs: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        hidden, cell, w_im, w_hm, w_ih, w_mh, bias = (tensor.contiguous() for tensor in tensors)
        steps, batch, _ = inputs.shape
        width = hidden.shape[1]
        inner = len(w_im)
        dtype = context.backend.matmul_dtype(hidden)
        workspace = Workspace(context.pool, hidden)
        x, to_inner, to_gates = (workspace.cast(tensor, dtype) for tensor in (inputs, w_im, w_ih))
        cells = workspace.allocate((steps + 1, batch, width))
        gates = workspace.allocate((steps, batch, 4 * width))
        before = workspace.allocate((steps, batch, width), dtype)
        projections = workspace.allocate((steps, batch, inner), dtype)
        intermediate = workspace.allocate((steps, batch, inner), dtype)
        outputs = hidden.new_empty(steps, batch, width)
        projected = matmul(x.flatten(0, 1), to_gates.T)
        factors = matmul(x.flatten(0, 1), to_inner.T)
        scratch = Workspace(context.pool, hidden)
        run_window(
            "multiplicative_lstm",
            "forward",
            dtype,
            inputs=(projected, factors, bias, hidden, cell, w_hm, w_mh),
            outputs=(outputs, cells, gates, before, projections, intermediate),
            workspace=scratch,
            sizes=(steps, batch, width, inner),
        )
        scratch.release()
        ctx.workspace = workspace
        ctx.tape = before, cells, gates, factors, projections, intermediate
        # saved, so that a change in place before the backward pass is found
        ctx.save_for_backward(x, to_inner, to_gates, w_hm, w_mh)
        return outputs, cells[-1].clone()

    @staticmethod
    def backward(ctx: Any, d_outputs: Tensor, d_cell: Tensor) -> tuple[Any, ...]:
        check_single_backward(ctx.workspace, "MultiplicativeLSTM")
        x, to_inner, to_gates, w_hm, w_mh = ctx.saved_tensors
        before, cells, gates, factors, projections, intermediate = ctx.tape
        workspace = ctx.workspace
        steps, batch, width = before.shape
        # the kernel changes it in place
        d_cell = d_cell.clone(memory_format=torch.contiguous_format)
        d_hidden = w_hm.new_empty(batch, width)
        d_bias = w_hm.new_zeros(4 * width)
        d_gates = workspace.allocate(gates.shape, before.dtype)
        d_factors = workspace.allocate(projections.shape, before.dtype)
        d_projections = workspace.allocate(projections.shape, before.dtype)
        run_window(
            "multiplicative_lstm",
            "backward",
            before.dtype,
            inputs=(d_outputs.contiguous(), cells, gates, factors, projections, w_hm, w_mh),
            outputs=(d_cell, d_bias, d_hidden, d_gates, d_factors, d_projections),
            workspace=workspace,
            sizes=(steps, batch, width, len(w_hm)),
        )
        d_inputs = None
        if ctx.needs_input_grad[1]:
            d_inputs = matmul(d_gates.flatten(0, 1), to_gates).float()
            d_inputs += matmul(d_factors.flatten(0, 1), to_inner)
            d_inputs = d_inputs.view_as(x)
        d_weights = (
            *weight_gradients(d_factors, [x], workspace),
            *weight_gradients(d_projections, [before], workspace),
            *weight_gradients(d_gates, [x, intermediate], workspace),
        )
        workspace.release()
        ctx.tape = None
        return None, d_inputs, d_hidden, d_cell, *d_weights, d_bias
