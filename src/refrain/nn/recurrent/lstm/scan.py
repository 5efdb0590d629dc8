"""A window of an LSTM's recurrence: for layers that no library kernel computes, and on GPUs in bf16.

`scan` in protocol.py applies a step along time and lets autograd record every operation of it. Here the input's part of
the gates is a product over the whole window that the caller has formed already, the loop holds only what depends on
the step before, and the way back is derived by hand: what of it does not depend on a later step is computed for all
steps at once, and the gradients of the weights are one large product each. The operands of the products may be rounded
to bfloat16; cells, states and what is done with the gates are float32.

T steps in the window, B sequences, H hidden width. Gates are packed in the order input, forget, candidate, output.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from refrain.nn.kernels.backend import Engine
from refrain.nn.kernels.buffer_pool import BufferPool
from refrain.nn.kernels.workspace import Loan, check_open

from .gates import LSTMTape, TorchGates, TritonGates


class Recurrence(Protocol):
    """How the hidden state before a step reaches the gates: what one LSTM-like layer has other than another.

    Made for one window from the layer's own tensors. Its methods are called outside of autograd.
    """

    def forward(self, step: int, hidden: Tensor, out: Tensor) -> None:
        """Write what comes of hidden (B, H) to out (B, 4H), both in the type of the products.

        Called for the steps in their order.
        """
        ...

    def backward(self, step: int, d_gates: Tensor, out: Tensor) -> None:
        """Write what d_gates (B, 4H) sends back to the hidden state before the step to out (B, H), in that type."""
        ...

    def gradients(self, d_gates: Tensor, hidden: Tensor) -> tuple[Tensor, ...]:
        """The gradients of the layer's own tensors, in any type.

        Args:
            d_gates: (T, B, 4H).
            hidden: (T, B, H), the hidden state before each step.
        """
        ...


class RecurrenceMaker(Protocol):
    """Makes the recurrence of a window, as its class does."""

    def __call__(self, tensors: Sequence[Tensor], loan: Loan, *, steps: int, kind: torch.dtype) -> Recurrence:
        """tensors: the layer's own; loan: of memory; steps: how many are remembered; kind: the products' type."""
        ...


class PlainRecurrence:
    """Hidden state -> gates by one matrix, as in an LSTM; see `Recurrence`.

    Args:
        tensors: w_hh (4H, H).
        loan: where memory is taken.
        steps: how many are remembered.
        kind: the type of the products.
    """

    def __init__(self, tensors: Sequence[Tensor], loan: Loan, *, steps: int, kind: torch.dtype) -> None:
        self._w_hh = loan.rounded(tensors[0], kind)
        self._transposed = self._w_hh.T

    def forward(self, step: int, hidden: Tensor, out: Tensor) -> None:
        """The hidden state's part of the gates."""
        torch.mm(hidden, self._transposed, out=out)

    def backward(self, step: int, d_gates: Tensor, out: Tensor) -> None:
        """The gradient of the hidden state before a step."""
        torch.mm(d_gates, self._w_hh, out=out)

    def gradients(self, d_gates: Tensor, hidden: Tensor) -> tuple[Tensor, ...]:
        """Of the weight, as one product."""
        return (d_gates.flatten(0, 1).T @ hidden.flatten(0, 1),)


def products_type(engine: Engine, like: Tensor) -> torch.dtype:
    """The type of the operands of an engine's products.

    Args:
        engine: what a window is computed with.
        like: a tensor of the layer; what is not float32 is never rounded.
    """
    return torch.bfloat16 if engine.bf16 and like.dtype == torch.float32 else like.dtype


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None, engine: Engine) -> Tensor:
    """inputs @ weight.T + bias for all steps at once, the product by an engine, the sum in the weight's type.

    Args:
        inputs: (T, B, I).
        weight: (R, I).
        bias: (R,), or None for zeros.
        engine: what the window is computed with.
    """
    kind = products_type(engine, weight)
    if kind == weight.dtype:
        return F.linear(inputs, weight, bias)
    product = F.linear(inputs.to(kind), weight.to(kind))
    return product.to(weight.dtype) if bias is None else product + bias


def window_scan(
    make: RecurrenceMaker,
    pool: BufferPool,
    engine: Engine,
    projected: Tensor,
    hidden: Tensor,
    cell: Tensor,
    *tensors: Tensor,
) -> tuple[Tensor, Tensor]:
    """Run an LSTM's recurrence over a window.

    Args:
        make: makes the recurrence of the window from `tensors`.
        pool: the layer's buffers.
        engine: with kernels those for GPUs are launched, which take float32; otherwise torch's operations do it.
        projected: (T, B, 4H), the input's part of the gates, bias included.
        hidden: (B, H), before the first step.
        cell: (B, H), before the first step.
        tensors: what the recurrence needs: weights, further projections.

    Returns:
        Outputs (T, B, H), the last of which is the hidden state after the window, and the cell state after it (B, H).
    """
    inputs = [tensor.to(hidden.dtype).contiguous() for tensor in (projected, hidden, cell, *tensors)]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
        outputs, after = _WindowScan.apply(make, pool, engine, *inputs)  # type: ignore[no-untyped-call]
        return outputs, after
    loan = Loan(pool, hidden)
    outputs, after = _run(make, loan, engine, inputs, remember=False)[:2]
    loan.give_back()
    return outputs, after


def _run(
    make: RecurrenceMaker, loan: Loan, engine: Engine, inputs: Sequence[Tensor], *, remember: bool
) -> tuple[Tensor, Tensor, Recurrence, TorchGates | TritonGates]:
    """The way forward; without `remember` the tape is one step long and written over."""
    projected, hidden, cell, *tensors = inputs
    steps, batch, width = projected.shape[0], *hidden.shape
    slots, kind = steps if remember else 1, products_type(engine, hidden)
    outputs = hidden.new_empty(steps, batch, width)
    tape = LSTMTape(
        projected,
        gates=loan.take((slots, batch, 4 * width), hidden.dtype),
        cells=loan.take((slots + 1, batch, width), hidden.dtype),
        operands=loan.take((slots + 1, batch, width), kind),
        # another tensor over the same memory: autograd's node holds the tape, and the outputs hold the node
        outputs=outputs.data,
    )
    recurrence = make(tensors, loan, steps=slots, kind=kind)
    by_kernels = engine.kernels and remember and hidden.dtype == torch.float32
    gates = TritonGates(tape, loan) if by_kernels else TorchGates(tape, loan)
    tape.cells[0].copy_(cell)
    tape.operands[0].copy_(hidden)
    product, before = loan.take((batch, 4 * width), kind), tape.operands.unbind()
    for step in range(steps):
        recurrence.forward(step, before[step % len(before)], product)
        gates.forward(step, product)
    return outputs, tape.cells[steps % len(before)].clone(), recurrence, gates


class _WindowScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, make: RecurrenceMaker, pool: BufferPool, engine: Engine, *inputs: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.loan = Loan(pool, inputs[1])
        outputs, cell, *ctx.tape = _run(make, ctx.loan, engine, inputs, remember=True)
        return outputs, cell

    @staticmethod
    def backward(ctx: Any, d_outputs: Tensor, d_cell: Tensor) -> tuple[Any, ...]:
        check_open(ctx.loan, "window_scan")
        recurrence, gates = ctx.tape
        operands, outputs = gates.tape.operands, gates.tape.outputs
        d_outputs, d_cell = d_outputs.contiguous(), d_cell.clone(memory_format=torch.contiguous_format)
        d_gates = torch.empty_like(gates.tape.gates, dtype=operands.dtype)
        d_product, d_rows = torch.zeros_like(operands[0]), d_gates.unbind()
        for step in reversed(range(len(outputs))):
            gates.backward(step, d_outputs, d_product, d_cell, d_gates)
            recurrence.backward(step, d_rows[step], d_product)
        own = recurrence.gradients(d_gates, operands[:-1])
        ctx.loan.give_back()
        ctx.tape = None
        rest = (d_gates, d_product, d_cell, *own)
        return None, None, None, *(gradient.to(outputs.dtype) for gradient in rest)
