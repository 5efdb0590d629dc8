"""A window of a GRU by C++ kernels: large matmuls for all steps at once, then the loop over the steps in one call.

Equal to `gru_step` along time. The backward pass is that of scan.py, in C++ (nn/kernels/cpp/gru.cpp).

T steps in the window, B batch, I input width, H hidden width.
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
    """A window that can be differentiated once; see `Window`. Weights: those of `gru_step`."""
    w_ih, w_hh, bias, *second = weights
    # the kernels read four biases of each unit: of both gates, of the candidate, and of its recurrent part
    biases = torch.cat([bias, second[0] if second else bias.new_zeros(w_hh.shape[1])])
    outputs = _Window.apply(context, inputs, state[0], w_ih, w_hh, biases)  # type: ignore[no-untyped-call]
    # a copy, as operations may change outputs in place
    return outputs, (outputs[-1].clone(),)


class _Window(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, context: Context, inputs: Tensor, *tensors: Tensor) -> Tensor:
        hidden, w_ih, w_hh, bias = (tensor.contiguous() for tensor in tensors)
        steps, batch, _ = inputs.shape
        width = hidden.shape[1]
        dtype = context.backend.matmul_dtype(hidden)
        workspace = Workspace(context.pool, hidden)
        x = workspace.cast(inputs, dtype)
        w_x = workspace.cast(w_ih, dtype)
        gates = workspace.allocate((steps, batch, 4 * width))
        before = workspace.allocate((steps, batch, width), dtype)
        outputs = hidden.new_empty(steps, batch, width)
        scratch = Workspace(context.pool, hidden)
        run_window(
            "gru",
            "forward",
            dtype,
            inputs=(matmul(x.flatten(0, 1), w_x.T), bias, hidden, w_hh),
            outputs=(outputs, gates, before),
            workspace=scratch,
            sizes=(steps, batch, width),
        )
        scratch.release()
        ctx.workspace = workspace
        ctx.tape = before, gates
        # saved, so that a change in place before the backward pass is found
        ctx.save_for_backward(x, w_x, w_hh, hidden, outputs)
        return outputs

    @staticmethod
    def backward(ctx: Any, d_outputs: Tensor) -> tuple[Any, ...]:
        check_single_backward(ctx.workspace, "GRU")
        x, w_x, w_hh, hidden, outputs = ctx.saved_tensors
        before, gates = ctx.tape
        steps, batch, width = before.shape
        d_hidden = torch.zeros_like(hidden)
        d_bias = hidden.new_zeros(4 * width)
        d_projected = ctx.workspace.allocate((steps, batch, 3 * width), before.dtype)
        d_recurrent = ctx.workspace.allocate((steps, batch, 3 * width), before.dtype)
        run_window(
            "gru",
            "backward",
            before.dtype,
            inputs=(d_outputs.contiguous(), outputs, hidden, gates, w_hh),
            outputs=(d_hidden, d_bias, d_projected, d_recurrent),
            workspace=ctx.workspace,
            sizes=(steps, batch, width),
        )
        _, d_inputs, _, d_w_ih, d_w_hh, _ = ctx.needs_input_grad
        result = (
            None,
            matmul(d_projected.flatten(0, 1), w_x).float().view_as(x) if d_inputs else None,
            d_hidden,
            *(weight_gradients(d_projected, [x], ctx.workspace) if d_w_ih else [None]),
            *(weight_gradients(d_recurrent, [before], ctx.workspace) if d_w_hh else [None]),
            d_bias,
        )
        ctx.workspace.release()
        ctx.tape = None
        return result
