"""A window of an LSTM's recurrence with a hand-derived backward pass, for any way that the state reaches the gates.

`scan` in protocol.py applies a step along time and lets autograd record every operation of it. Here the input's part of
the gates is one matmul over the whole window, the loop holds only what depends on the step before, and the backward
pass computes for all steps at once what does not depend on a later step; the gradient of a weight is one large matmul.
Matmul inputs may be rounded to bfloat16; cells, states and gates are float32.

T steps in the window, B batch, I input width, H hidden width. Gates are packed in the order input, forget, candidate,
output.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from refrain.nn.kernels.backend import Backend
from refrain.nn.kernels.workspace import BufferPool, Workspace, check_single_backward
from refrain.nn.recurrent.protocol import Context

from .gates import LSTMTape, TorchGates, TritonGates


def scan_window(
    context: Context, inputs: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A window that can be differentiated once; see `Window`. Weights: w_ih (4H, I), w_hh (4H, H), bias (4H,)."""
    w_ih, w_hh, bias = weights
    projected = linear(inputs, w_ih, bias, context.backend)
    hidden, cell = state
    outputs, after = scan_recurrence(WeightRecurrence, context.pool, context.backend, projected, hidden, cell, w_hh)
    # a copy, as operations may change outputs in place
    return outputs, (outputs[-1].clone(), after)


class Recurrence(Protocol):
    """How the hidden state before a step reaches the gates, which is where LSTM-like layers differ.

    One is made for each window from the layer's own tensors. Its methods are called outside of autograd.
    """

    def forward(self, step: int, hidden: Tensor, out: Tensor) -> None:
        """Write the recurrent part of the gates of a step to out (B, 4H), given hidden (B, H).

        Called for the steps in the order of time. Both tensors have the dtype of matmul inputs.
        """
        ...

    def backward(self, step: int, d_gates: Tensor, out: Tensor) -> None:
        """Write the gradient of the hidden state before a step to out (B, H), given d_gates (B, 4H)."""
        ...

    def gradients(self, d_gates: Tensor, hidden: Tensor) -> tuple[Tensor, ...]:
        """The gradients of the layer's own tensors, in any dtype.

        Args:
            d_gates: (T, B, 4H).
            hidden: (T, B, H), the hidden state before each step.
        """
        ...


class RecurrenceMaker(Protocol):
    """Makes the recurrence of a window; a class that implements `Recurrence` is one."""

    def __call__(
        self, tensors: Sequence[Tensor], workspace: Workspace, *, steps: int, dtype: torch.dtype
    ) -> Recurrence:
        """Make the recurrence.

        Args:
            tensors: the layer's own.
            workspace: where memory is allocated.
            steps: for how many steps intermediate values are kept.
            dtype: of matmul inputs.
        """
        ...


class WeightRecurrence:
    """The hidden state reaches the gates through one matrix, as in an LSTM; see `Recurrence`.

    Args:
        tensors: w_hh (4H, H).
        workspace: where memory is allocated.
        steps: not used.
        dtype: of matmul inputs.
    """

    def __init__(self, tensors: Sequence[Tensor], workspace: Workspace, *, steps: int, dtype: torch.dtype) -> None:
        self._w_hh = workspace.cast(tensors[0], dtype)
        self._transposed = self._w_hh.T

    def forward(self, step: int, hidden: Tensor, out: Tensor) -> None:
        """The recurrent part of the gates; see `Recurrence.forward`."""
        torch.mm(hidden, self._transposed, out=out)

    def backward(self, step: int, d_gates: Tensor, out: Tensor) -> None:
        """The gradient of the hidden state before a step; see `Recurrence.backward`."""
        torch.mm(d_gates, self._w_hh, out=out)

    def gradients(self, d_gates: Tensor, hidden: Tensor) -> tuple[Tensor, ...]:
        """The gradient of the weight; see `Recurrence.gradients`."""
        return (d_gates.flatten(0, 1).T @ hidden.flatten(0, 1),)


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None, backend: Backend) -> Tensor:
    """inputs @ weight.T + bias for all steps at once; the matmul has the backend's dtype, the sum the weight's.

    Args:
        inputs: (T, B, I).
        weight: (R, I).
        bias: (R,), or None for zeros.
        backend: of the layer.
    """
    dtype = backend.matmul_dtype(weight)
    if dtype == weight.dtype:
        return F.linear(inputs, weight, bias)
    projected = F.linear(inputs.to(dtype), weight.to(dtype))
    return projected.to(weight.dtype) if bias is None else projected + bias


def scan_recurrence(
    make: RecurrenceMaker,
    pool: BufferPool,
    backend: Backend,
    projected: Tensor,
    hidden: Tensor,
    cell: Tensor,
    *tensors: Tensor,
) -> tuple[Tensor, Tensor]:
    """Run an LSTM's recurrence over a window.

    Args:
        make: makes the recurrence of the window from `tensors`.
        pool: the layer's buffers.
        backend: if native, the gates are computed by Triton kernels, which take float32; otherwise by torch's
            operations.
        projected: (T, B, 4H), the input's part of the gates, bias included.
        hidden: (B, H), before the first step.
        cell: (B, H), before the first step.
        tensors: what the recurrence needs: weights, further projections.

    Returns:
        Outputs (T, B, H), the last of which is the hidden state after the window, and the cell state after it (B, H).
    """
    inputs = [tensor.to(hidden.dtype).contiguous() for tensor in (projected, hidden, cell, *tensors)]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
        outputs, after = _RecurrenceScan.apply(make, pool, backend, *inputs)  # type: ignore[no-untyped-call]
        return outputs, after
    workspace = Workspace(pool, hidden)
    outputs, after, _, _ = _run(make, workspace, backend, inputs, remember=False)
    workspace.release()
    return outputs, after


def _run(
    make: RecurrenceMaker, workspace: Workspace, backend: Backend, inputs: Sequence[Tensor], *, remember: bool
) -> tuple[Tensor, Tensor, Recurrence, TorchGates | TritonGates]:
    """The forward pass; without `remember` the tape holds one step and is overwritten."""
    projected, hidden, cell, *tensors = inputs
    steps = len(projected)
    batch, width = hidden.shape
    kept = steps if remember else 1
    dtype = backend.matmul_dtype(hidden)
    outputs = hidden.new_empty(steps, batch, width)
    tape = LSTMTape(
        projected,
        gates=workspace.allocate((kept, batch, 4 * width), hidden.dtype),
        cells=workspace.allocate((kept + 1, batch, width), hidden.dtype),
        matmul_inputs=workspace.allocate((kept + 1, batch, width), dtype),
        # another tensor over the same memory: autograd's node holds the tape, and the outputs hold the node
        outputs=outputs.data,
    )
    recurrence = make(tensors, workspace, steps=kept, dtype=dtype)
    by_triton = backend.native and remember and hidden.dtype == torch.float32
    gates = TritonGates(tape, workspace) if by_triton else TorchGates(tape, workspace)
    tape.cells[0].copy_(cell)
    tape.matmul_inputs[0].copy_(hidden)
    recurrent = workspace.allocate((batch, 4 * width), dtype)
    before = tape.matmul_inputs.unbind()
    for step in range(steps):
        recurrence.forward(step, before[step % len(before)], recurrent)
        gates.forward(step, recurrent)
    return outputs, tape.cells[steps % len(before)].clone(), recurrence, gates


class _RecurrenceScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, make: RecurrenceMaker, pool: BufferPool, backend: Backend, *inputs: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.workspace = Workspace(pool, inputs[1])
        outputs, cell, *ctx.tape = _run(make, ctx.workspace, backend, inputs, remember=True)
        # the recurrence holds them too; autograd refuses a backward pass after one of them has changed
        ctx.save_for_backward(*inputs[3:])
        return outputs, cell

    @staticmethod
    def backward(ctx: Any, d_outputs: Tensor, d_cell: Tensor) -> tuple[Any, ...]:
        check_single_backward(ctx.workspace, "the scan of a recurrent layer")
        _ = ctx.saved_tensors
        recurrence, gates = ctx.tape
        hidden = gates.tape.matmul_inputs
        d_outputs = d_outputs.contiguous()
        d_cell = d_cell.clone(memory_format=torch.contiguous_format)
        d_gates = torch.empty_like(gates.tape.gates, dtype=hidden.dtype)
        d_hidden = torch.zeros_like(hidden[0])
        d_steps = d_gates.unbind()
        for step in reversed(range(len(d_steps))):
            gates.backward(step, d_outputs, d_hidden, d_cell, d_gates)
            recurrence.backward(step, d_steps[step], d_hidden)
        own = recurrence.gradients(d_gates, hidden[:-1])
        dtype = gates.tape.outputs.dtype
        ctx.workspace.release()
        ctx.tape = None
        return None, None, None, *(gradient.to(dtype) for gradient in (d_gates, d_hidden, d_cell, *own))
