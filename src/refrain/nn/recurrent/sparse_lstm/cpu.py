"""A window of many LSTMs side by side by C++ kernels: one loop over the steps for all of them.

Equal to the blocks of a `SparseLSTM` in turn. The kernels are those of the LSTM (nn/kernels/cpp/lstm.cpp) for k blocks.

T steps in the window, B batch, I input width, k blocks of h hidden units.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from refrain.nn.kernels.call import run_window
from refrain.nn.kernels.matmul import matmul, weight_gradients
from refrain.nn.kernels.workspace import Workspace, check_single_backward
from refrain.nn.recurrent.protocol import Context

from .blocks import Blocks, joined, split_units


def native_window(
    context: Context, inputs: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A window that can be differentiated once; see `Window`. Weights: w_ih, w_hh and bias of each block in turn."""
    own = Blocks.of(weights)
    hidden, cell = (split_units(part, context.blocks) for part in state)
    tensors = (hidden, cell, own.w_hh, own.bias, *own.w_ih)
    outputs, after = _Window.apply(context, inputs, *tensors)  # type: ignore[no-untyped-call]
    outputs = joined(outputs, context.blocks)
    # a copy, as operations may change outputs in place
    return outputs, (outputs[-1].clone(), joined(after, context.blocks))


class _Window(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, context: Context, inputs: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        hidden, cell, w_hh, bias, *w_ih = (tensor.contiguous() for tensor in tensors)
        steps, batch, _ = inputs.shape
        count, _, width = hidden.shape
        dtype = context.backend.matmul_dtype(hidden)
        workspace = Workspace(context.pool, hidden)
        scratch = Workspace(context.pool, hidden)
        # copied, as matmuls of a part of each row may run by a library's slowest kernel
        seen = [workspace.cast(inputs[..., begin:end], dtype) for begin, end, _ in context.blocks]
        w_x = [workspace.cast(weight, dtype) for weight in w_ih]
        projected = scratch.allocate((count, steps * batch, 4 * width), dtype)
        for part, x, weight in zip(projected, seen, w_x, strict=True):
            part.copy_(matmul(x.flatten(0, 1), weight.T))
        cells = workspace.allocate((count, steps + 1, batch, width))
        gates = workspace.allocate((count, steps, batch, 4 * width))
        before = workspace.allocate((count, steps, batch, width), dtype)
        outputs = hidden.new_empty(count, steps, batch, width)
        run_window(
            "lstm",
            "forward",
            dtype,
            inputs=(projected, bias, hidden, cell, w_hh),
            outputs=(outputs, cells, gates, before),
            workspace=scratch,
            sizes=(count, steps, batch, width),
        )
        scratch.release()
        ctx.workspace = workspace
        ctx.blocks = context.blocks
        ctx.tape = inputs.shape, before, cells, gates
        # saved, so that a change in place before the backward pass is found
        ctx.save_for_backward(w_hh, *seen, *w_x)
        return outputs, cells[:, -1].clone()

    @staticmethod
    def backward(ctx: Any, d_outputs: Tensor, d_cell: Tensor) -> tuple[Any, ...]:
        check_single_backward(ctx.workspace, "SparseLSTM")
        shape, before, cells, gates = ctx.tape
        count, steps, batch, width = before.shape
        w_hh, *saved = ctx.saved_tensors
        seen, w_x = saved[:count], saved[count:]
        # the kernel changes it in place
        d_cell = d_cell.clone(memory_format=torch.contiguous_format)
        d_bias = w_hh.new_zeros(count, 4 * width)
        d_hidden = w_hh.new_empty(count, batch, width)
        d_gates = ctx.workspace.allocate(gates.shape, before.dtype)
        run_window(
            "lstm",
            "backward",
            before.dtype,
            inputs=(d_outputs.contiguous(), cells, gates, w_hh),
            outputs=(d_cell, d_bias, d_hidden, d_gates),
            workspace=ctx.workspace,
            sizes=(count, steps, batch, width),
        )
        d_inputs = w_hh.new_zeros(shape)
        d_w_ih = []
        d_w_hh = torch.empty_like(w_hh)
        for part, x, own, weight, (begin, end, _), d_own in zip(
            d_gates, seen, before, w_x, ctx.blocks, d_w_hh, strict=True
        ):
            d_inputs[..., begin:end] += matmul(part.flatten(0, 1), weight).view_as(x)
            d_x, d_hidden_weight = weight_gradients(part, [x, own], ctx.workspace)
            d_w_ih.append(d_x)
            d_own.copy_(d_hidden_weight)
        ctx.workspace.release()
        ctx.tape = None
        return None, d_inputs, d_hidden, d_cell, d_w_hh, d_bias, *d_w_ih
