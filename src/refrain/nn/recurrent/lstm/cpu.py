"""A window of an LSTM by C++ kernels: large matmuls for all steps at once, then the loop over the steps in one call.

Equal to `lstm_step` along time; the backward pass is that of scan.py, in C++ (nn/kernels/cpp/lstm.cpp).

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
    """A window that can be differentiated once; see `Window`. Weights: w_ih (4H, I), w_hh (4H, H), bias (4H,)."""
    hidden, cell = state
    outputs, after = _Window.apply(context, inputs, hidden, cell, *weights)  # type: ignore[no-untyped-call]
    # a copy, as operations may change outputs in place
    return outputs, (outputs[-1].clone(), after)


class _Window(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, context: Context, inputs: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        hidden, cell, w_ih, w_hh, bias = (tensor.contiguous() for tensor in tensors)
        steps, batch, _ = inputs.shape
        width = hidden.shape[1]
        dtype = context.backend.matmul_dtype(hidden)
        workspace = Workspace(context.pool, hidden)
        x, w_x = inputs.contiguous(), w_ih
        cells, gates, before, d_gates, *rounded = workspace.allocate_all(
            ((steps + 1, batch, width), torch.float32),
            ((steps, batch, 4 * width), torch.float32),
            ((steps, batch, width), dtype),
            ((steps, batch, 4 * width), dtype),
            *(((x.shape, dtype), (w_x.shape, dtype)) if x.dtype != dtype else ()),
        )
        if rounded:
            x, w_x = (copy.copy_(tensor) for copy, tensor in zip(rounded, (x, w_x), strict=True))
        outputs = hidden.new_empty(steps, batch, width)
        scratch = Workspace(context.pool, hidden)
        run_window(
            "lstm",
            "forward",
            dtype,
            inputs=(matmul(x.flatten(0, 1), w_x.T), bias, hidden, cell, w_hh),
            outputs=(outputs, cells, gates, before),
            workspace=scratch,
            sizes=(1, steps, batch, width),
        )
        scratch.release()
        ctx.workspace = workspace
        ctx.tape = before, cells, gates, d_gates
        # saved, so that a change in place before the backward pass is found
        ctx.save_for_backward(x, w_x, w_hh)
        return outputs, cells[-1].clone()

    @staticmethod
    def backward(ctx: Any, d_outputs: Tensor, d_cell: Tensor) -> tuple[Any, ...]:
        check_single_backward(ctx.workspace, "LSTM")
        x, w_x, w_hh = ctx.saved_tensors
        before, cells, gates, d_gates = ctx.tape
        steps, batch, width = before.shape
        # the kernel changes it in place
        d_cell = d_cell.clone(memory_format=torch.contiguous_format)
        d_hidden = w_hh.new_empty(batch, width)
        d_bias = w_hh.new_zeros(4 * width)
        run_window(
            "lstm",
            "backward",
            before.dtype,
            inputs=(d_outputs.contiguous(), cells, gates, w_hh),
            outputs=(d_cell, d_bias, d_hidden, d_gates),
            workspace=ctx.workspace,
            sizes=(1, steps, batch, width),
        )
        _, d_inputs, _, _, *needed, _ = ctx.needs_input_grad
        pairs = zip((x, before), needed, strict=True)
        d_weights = iter(weight_gradients(d_gates, [own for own, is_needed in pairs if is_needed], ctx.workspace))
        result = (
            None,
            matmul(d_gates.flatten(0, 1), w_x).float().view_as(x) if d_inputs else None,
            d_hidden,
            d_cell,
            *(next(d_weights) if is_needed else None for is_needed in needed),
            d_bias,
        )
        ctx.workspace.release()
        ctx.tape = None
        return result
