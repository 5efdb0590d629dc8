"""A window of a GRU with a hand-derived backward pass, for a GPU where cuDNN is not used.

Equal to `gru_step` along time. With r, u, c after their activations, q the recurrent part of the gates and p its part
for the candidate, h the hidden state before a step, and dh the gradient of that after it:

    r = sigmoid(x_r + q_r)    u = sigmoid(x_u + q_u)    c = tanh(x_c + r p)    h_after = c + u (h - c)

    dc = dh (1 - u) (1 - c c)      dr = dc p r (1 - r)      du = dh (h - c) u (1 - u)
    dh_before = dh u + (dr, du, dc r) W_hh

where (dr, du, dc) is the gradient of the input's part of the gates. Matmul inputs may be rounded to bfloat16.

T steps in the window, B batch, H hidden width. Gates are packed in the order reset, update, candidate.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refrain.nn.kernels.backend import Backend
from refrain.nn.kernels.launch import launch
from refrain.nn.kernels.workspace import BufferPool, Workspace, check_single_backward
from refrain.nn.recurrent.lstm.scan import linear
from refrain.nn.recurrent.protocol import Context

from .biases import recurrent_bias


def scan_window(
    context: Context, inputs: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A window that can be differentiated once; see `Window`. Weights: those of `gru_step`."""
    w_ih, w_hh, bias, *second = weights
    (hidden,) = state
    projected = linear(inputs, w_ih, bias, context.backend)
    tensors = [tensor.to(hidden.dtype).contiguous() for tensor in (projected, hidden, w_hh)]
    tensors += [recurrent_bias(bias, *second).to(hidden.dtype)] if second else []
    outputs = _GRUScan.apply(context.pool, context.backend, *tensors)  # type: ignore[no-untyped-call]
    # a copy, as operations may change outputs in place
    return outputs, (outputs[-1].clone(),)


class GRUTape(NamedTuple):
    """What the steps of a window read and write."""

    projected: Tensor  # (T, B, 3H), the input's part of the gates, bias included
    gates: Tensor  # (T, B, 4H): reset, update, candidate, and the candidate's recurrent part
    states: Tensor  # (T + 1, B, H), before and after each step
    matmul_inputs: Tensor  # (T + 1, B, H), the same in the dtype of matmul inputs


class TorchGates:
    """What a step computes between its matmuls: the readable form, on any device and in any dtype.

    Args:
        tape: of the window.
    """

    def __init__(self, tape: GRUTape) -> None:
        self.tape = tape

    def forward(self, step: int, recurrent: Tensor) -> None:
        """Compute the gates of a step and the state after it.

        Args:
            step: index of the step; steps come in the order of time.
            recurrent: (B, 3H), the recurrent part of the gates.
        """
        tape = self.tape
        x_r, x_u, x_c = tape.projected[step].chunk(3, dim=-1)
        q_r, q_u, p = recurrent.to(x_r.dtype).chunk(3, dim=-1)
        r = (x_r + q_r).sigmoid()
        u = (x_u + q_u).sigmoid()
        c = (x_c + r * p).tanh()
        torch.cat([r, u, c, p], dim=-1, out=tape.gates[step])
        torch.lerp(c, tape.states[step], u, out=tape.states[step + 1])
        if tape.matmul_inputs is not tape.states:
            tape.matmul_inputs[step + 1].copy_(tape.states[step + 1])

    def backward(
        self,
        step: int,
        d_outputs: Tensor,
        d_by_gates: Tensor,
        d_direct: Tensor,
        d_projected: Tensor,
        d_recurrent: Tensor,
    ) -> None:
        """Compute the gradients of both parts of a step's gates, and of the state before it past the gates.

        Args:
            step: index of the step; steps come in reverse order.
            d_outputs: (T, B, H), from the layer above.
            d_by_gates: (B, H), gradient of the output from the next step, through its gates.
            d_direct: (B, H), gradient of the output from the next step, past its gates; replaced by that of this step.
            d_projected: (T, B, 3H), written at the step.
            d_recurrent: (T, B, 3H), written at the step.
        """
        r, u, c, p = self.tape.gates[step].chunk(4, dim=-1)
        d = d_outputs[step] + d_direct + d_by_gates
        d_c = d * (1 - u) * (1 - c * c)
        d_r = d_c * p * r * (1 - r)
        d_u = d * (self.tape.states[step] - c) * u * (1 - u)
        d_projected[step].copy_(torch.cat([d_r, d_u, d_c], dim=-1))
        d_recurrent[step].copy_(torch.cat([d_r, d_u, d_c * r], dim=-1))
        torch.mul(d, u, out=d_direct)


class TritonGates:
    """The same in one launch a step, for float32; if a launch fails, `TorchGates` takes over.

    Args:
        tape: of the window.
    """

    def __init__(self, tape: GRUTape) -> None:
        self.tape = tape
        self._fallback = TorchGates(tape)

    def forward(self, step: int, recurrent: Tensor) -> None:
        """See `TorchGates.forward`."""
        tape = self.tape
        if not self._launch("forward", tape.projected, recurrent, tape.gates, tape.states, tape.matmul_inputs, step):
            self._fallback.forward(step, recurrent)

    def backward(
        self,
        step: int,
        d_outputs: Tensor,
        d_by_gates: Tensor,
        d_direct: Tensor,
        d_projected: Tensor,
        d_recurrent: Tensor,
    ) -> None:
        """See `TorchGates.backward`."""
        gradients = (d_outputs, d_by_gates, d_direct)
        written = (d_projected, d_recurrent)
        if not self._launch("backward", *gradients, self.tape.gates, self.tape.states, *written, step):
            self._fallback.backward(step, *gradients, *written)

    def _launch(self, function: str, *arguments: Tensor | int) -> bool:
        _, batch, width = self.tape.states.shape
        return launch("gru", function, batch * width, *arguments, width)


class _GRUScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        pool: BufferPool,
        backend: Backend,
        projected: Tensor,
        hidden: Tensor,
        w_hh: Tensor,
        bias: Tensor | None = None,
    ) -> Tensor:
        steps = len(projected)
        batch, width = hidden.shape
        dtype = backend.matmul_dtype(hidden)
        workspace = Workspace(pool, hidden)
        states = workspace.allocate((steps + 1, batch, width), hidden.dtype)
        inputs = states if dtype == hidden.dtype else workspace.allocate(states.shape, dtype)
        tape = GRUTape(projected, workspace.allocate((steps, batch, 4 * width), hidden.dtype), states, inputs)
        by_triton = backend.native and hidden.dtype == torch.float32
        gates = TritonGates(tape) if by_triton else TorchGates(tape)
        weight = workspace.cast(w_hh, dtype)
        states[0].copy_(hidden)
        inputs[0].copy_(hidden)
        recurrent = workspace.allocate((batch, 3 * width), dtype)
        before = inputs.unbind()
        transposed = weight.T
        second = None if bias is None else workspace.cast(bias, dtype)
        for step in range(steps):
            if second is None:
                torch.mm(before[step], transposed, out=recurrent)
            else:
                torch.addmm(second, before[step], transposed, out=recurrent)
            gates.forward(step, recurrent)
        ctx.workspace = workspace
        ctx.gates = gates
        ctx.w_hh = weight
        # autograd refuses a backward pass after the weight has changed
        ctx.save_for_backward(w_hh)
        outputs: Tensor = states[1:].clone()
        return outputs

    @staticmethod
    def backward(ctx: Any, d_outputs: Tensor) -> tuple[Any, ...]:
        check_single_backward(ctx.workspace, "the scan of a GRU")
        _ = ctx.saved_tensors
        _, _, states, inputs = ctx.gates.tape
        steps, batch, width = d_outputs.shape
        d_outputs = d_outputs.contiguous()
        d_direct = torch.zeros_like(states[0])
        d_projected = inputs.new_empty(steps, batch, 3 * width)
        d_recurrent = inputs.new_empty(steps, batch, 3 * width)
        d_by_gates = torch.zeros_like(inputs[0])
        d_steps = d_recurrent.unbind()
        for step in reversed(range(steps)):
            ctx.gates.backward(step, d_outputs, d_by_gates, d_direct, d_projected, d_recurrent)
            torch.mm(d_steps[step], ctx.w_hh, out=d_by_gates)
        d_w_hh = d_recurrent.flatten(0, 1).T @ inputs[:-1].flatten(0, 1)
        d_direct += d_by_gates
        ctx.workspace.release()
        ctx.gates = None
        ctx.w_hh = None
        result = (None, None, d_projected.to(d_direct.dtype), d_direct, d_w_hh.to(d_direct.dtype))
        if len(ctx.needs_input_grad) == len(result):
            return result
        return *result, d_recurrent.sum((0, 1), dtype=d_direct.dtype)
