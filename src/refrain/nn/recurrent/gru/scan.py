"""A window of a GRU as a scan whose way back is derived by hand: for GPUs, where cuDNN is not taken.

Equal to `gru_step` along time. With r, u, c after their activations, q the recurrent product and p its part for the
candidate, h the hidden state before a step, and dh the gradient of that after it:

    r = sigmoid(x_r + q_r)    u = sigmoid(x_u + q_u)    c = tanh(x_c + r p)    h_after = c + u (h - c)

    dc = dh (1 - u) (1 - c c)      dr = dc p r (1 - r)      du = dh (h - c) u (1 - u)
    dh_before = dh u + (dr, du, dc r) W_hh

where (dr, du, dc) goes to the input's part of the gates. The operands of the products may be rounded to bfloat16.

T steps in the window, B sequences, H hidden width. Gates are packed in the order reset, update, candidate.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from refrain.nn.kernels.backend import Engine
from refrain.nn.kernels.buffer_pool import BufferPool
from refrain.nn.kernels.launch import launch
from refrain.nn.kernels.workspace import Loan, check_open
from refrain.nn.recurrent.lstm.scan import products_type


def gru_scan(pool: BufferPool, engine: Engine, projected: Tensor, hidden: Tensor, w_hh: Tensor) -> Tensor:
    """A window, to be differentiated once.

    Args:
        pool: the layer's buffers.
        engine: with kernels those for GPUs are launched, which take float32; otherwise torch's operations do it.
        projected: (T, B, 3H), the input's part of the gates, bias included.
        hidden: (B, H), before the first step.
        w_hh: (3H, H).

    Returns:
        Outputs (T, B, H), the last of which is the hidden state after the window.
    """
    inputs = [tensor.to(hidden.dtype).contiguous() for tensor in (projected, hidden, w_hh)]
    return _GRUScan.apply(pool, engine, *inputs)  # type: ignore[no-any-return, no-untyped-call]


class GRUTape(NamedTuple):
    """What a window's steps read and write."""

    projected: Tensor  # (T, B, 3H)
    gates: Tensor  # (T, B, 4H): reset, update, candidate, and the candidate's part of the recurrent product
    states: Tensor  # (T + 1, B, H), before and after each step
    operands: Tensor  # (T + 1, B, H), the same in the type of the products


class TorchGates:
    """What stands between the products of a step: the readable form, on any device and in any type.

    Args:
        tape: of the window.
    """

    def __init__(self, tape: GRUTape) -> None:
        self.tape = tape

    def forward(self, step: int, product: Tensor) -> None:
        """Gates and the state after a step.

        Args:
            step: in the order of time.
            product: (B, 3H), what comes of the hidden state before.
        """
        tape = self.tape
        x_r, x_u, x_c = tape.projected[step].chunk(3, dim=-1)
        q_r, q_u, p = product.to(x_r.dtype).chunk(3, dim=-1)
        r, u = (x_r + q_r).sigmoid(), (x_u + q_u).sigmoid()
        c = (x_c + r * p).tanh()
        torch.cat([r, u, c, p], dim=-1, out=tape.gates[step])
        torch.lerp(c, tape.states[step], u, out=tape.states[step + 1])
        if tape.operands is not tape.states:
            tape.operands[step + 1].copy_(tape.states[step + 1])

    def backward(
        self,
        step: int,
        d_outputs: Tensor,
        d_product: Tensor,
        d_direct: Tensor,
        d_projected: Tensor,
        d_recurrent: Tensor,
    ) -> None:
        """Gradients of both parts of a step's gates, and of the state before it past the gates.

        Args:
            step: against the order of time.
            d_outputs: (T, B, H), from above.
            d_product: (B, H), from the step after, through its product.
            d_direct: (B, H), from the step after, past its gates; becomes that of this step.
            d_projected: (T, B, 3H), written at the step.
            d_recurrent: (T, B, 3H), written at the step.
        """
        r, u, c, p = self.tape.gates[step].chunk(4, dim=-1)
        d = d_outputs[step] + d_direct + d_product
        d_c = d * (1 - u) * (1 - c * c)
        d_r = d_c * p * r * (1 - r)
        d_u = d * (self.tape.states[step] - c) * u * (1 - u)
        d_projected[step].copy_(torch.cat([d_r, d_u, d_c], dim=-1))
        d_recurrent[step].copy_(torch.cat([d_r, d_u, d_c * r], dim=-1))
        torch.mul(d, u, out=d_direct)


class TritonGates:
    """The same in one launch a step, for float32; should it fail, `TorchGates` goes on.

    Args:
        tape: of the window.
    """

    def __init__(self, tape: GRUTape) -> None:
        self.tape, self._plain = tape, TorchGates(tape)

    def forward(self, step: int, product: Tensor) -> None:
        """As of `TorchGates`."""
        if not self._launch("forward", self.tape.projected, product, *self.tape[1:], step):
            self._plain.forward(step, product)

    def backward(
        self,
        step: int,
        d_outputs: Tensor,
        d_product: Tensor,
        d_direct: Tensor,
        d_projected: Tensor,
        d_recurrent: Tensor,
    ) -> None:
        """As of `TorchGates`."""
        read = d_outputs, d_product, d_direct, self.tape.gates, self.tape.states
        if not self._launch("backward", *read, d_projected, d_recurrent, step):
            self._plain.backward(step, d_outputs, d_product, d_direct, d_projected, d_recurrent)

    def _launch(self, function: str, *arguments: Tensor | int) -> bool:
        batch, width = self.tape.states.shape[1:]
        return launch("gru", function, batch * width, *arguments, width)


class _GRUScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pool: BufferPool, engine: Engine, projected: Tensor, hidden: Tensor, w_hh: Tensor) -> Tensor:
        steps, (batch, width), kind = len(projected), hidden.shape, products_type(engine, hidden)
        ctx.loan = Loan(pool, hidden)
        states = ctx.loan.take((steps + 1, batch, width), hidden.dtype)
        operands = states if kind == hidden.dtype else ctx.loan.take(states.shape, kind)
        tape = GRUTape(projected, ctx.loan.take((steps, batch, 4 * width), hidden.dtype), states, operands)
        by_kernels = engine.kernels and hidden.dtype == torch.float32
        ctx.gates = TritonGates(tape) if by_kernels else TorchGates(tape)
        ctx.w_hh = ctx.loan.rounded(w_hh, kind)
        states[0].copy_(hidden)
        operands[0].copy_(hidden)
        product, before, transposed = ctx.loan.take((batch, 3 * width), kind), operands.unbind(), ctx.w_hh.T
        for step in range(steps):
            torch.mm(before[step], transposed, out=product)
            ctx.gates.forward(step, product)
        outputs: Tensor = states[1:].clone()
        return outputs

    @staticmethod
    def backward(ctx: Any, d_outputs: Tensor) -> tuple[Any, ...]:
        check_open(ctx.loan, "GRU")
        _, _, states, operands = ctx.gates.tape
        steps, batch, width = d_outputs.shape
        d_outputs, d_direct = d_outputs.contiguous(), torch.zeros_like(states[0])
        d_projected, d_recurrent = (operands.new_empty(steps, batch, 3 * width) for _ in range(2))
        d_product, d_rows = torch.zeros_like(operands[0]), d_recurrent.unbind()
        for step in reversed(range(steps)):
            ctx.gates.backward(step, d_outputs, d_product, d_direct, d_projected, d_recurrent)
            torch.mm(d_rows[step], ctx.w_hh, out=d_product)
        d_w_hh = d_recurrent.flatten(0, 1).T @ operands[:-1].flatten(0, 1)
        d_direct += d_product
        ctx.loan.give_back()
        ctx.gates = ctx.w_hh = None
        return None, None, d_projected.to(d_direct.dtype), d_direct, d_w_hh.to(d_direct.dtype)
