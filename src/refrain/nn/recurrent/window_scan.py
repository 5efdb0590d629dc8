"""A window of an LSTM's recurrence for layers that no library kernel computes.

`scan` in scan.py applies a step along time and lets autograd record every operation of it. Here the input's part of
the gates is a product over the whole window that the caller has formed already, the loop holds only what depends on
the step before, and the way back is derived by hand: what of it does not depend on a later step is computed for all
steps at once, and the gradients of the weights are one large product each.

T steps in the window, B sequences, H hidden width. Gates are packed in the order input, forget, candidate, output.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor


class Recurrence(Protocol):
    """How the hidden state before a step reaches the gates: what one LSTM-like layer has other than another.

    Made for one window from the layer's own tensors. Its methods are called outside of autograd.
    """

    def forward(self, slot: int, hidden: Tensor, projected: Tensor, out: Tensor) -> None:
        """Write projected (B, 4H) plus what comes of hidden (B, H) to out (B, 4H).

        Called for the steps in their order; `slot` is the step, or always 0 where nothing is remembered.
        """
        ...

    def backward(self, step: int, d_gates: Tensor, d_outputs: Tensor, out: Tensor) -> None:
        """Write d_outputs (B, H) plus what d_gates (B, 4H) sends back to the hidden state before to out (B, H)."""
        ...

    def gradients(self, d_gates: Tensor, hidden: Tensor) -> tuple[Tensor, ...]:
        """The gradients of the layer's own tensors.

        Args:
            d_gates: (T, B, 4H).
            hidden: (T, B, H), the hidden state before each step.
        """
        ...

    def buffers(self) -> list[Tensor]:
        """What was taken from the pool."""
        ...


class BufferPool:
    """Memory that windows share, so that large tensors are not asked of the system and returned in every window.

    A buffer belongs to one window from `take` to `give`; two windows that are open at once have different ones.

    Args:
        keep: how many free buffers are held.
    """

    def __init__(self, keep: int = 10) -> None:
        self._keep = keep
        self._free: list[Tensor] = []

    def take(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """An uninitialised tensor of a shape, with type and device of another."""
        count = torch.Size(shape).numel()
        fitting = [
            index
            for index, free in enumerate(self._free)
            if free.numel() >= count and free.dtype == like.dtype and free.device == like.device
        ]
        if not fitting:
            return like.new_empty(count).view(*shape)
        smallest = min(fitting, key=lambda index: self._free[index].numel())
        return self._free.pop(smallest)[:count].view(*shape)

    def give(self, tensors: Sequence[Tensor]) -> None:
        """Put tensors from `take` back; nobody may read them afterwards."""
        # the whole buffer, of which a tensor may be the beginning
        given = [tensor.new_empty(0).set_(tensor.untyped_storage()) for tensor in tensors]
        # those of another type or device are of no use to a layer that was moved
        free = [old for old in self._free if old.dtype == given[0].dtype and old.device == given[0].device]
        self._free = sorted([*free, *given], key=Tensor.numel)[-self._keep :]

    def __reduce__(self) -> tuple[type["BufferPool"], tuple[int]]:
        # a copy begins with memory of its own
        return BufferPool, (self._keep,)


class RecurrenceMaker(Protocol):
    """Makes the recurrence of a window, as its class does."""

    def __call__(self, tensors: Sequence[Tensor], pool: BufferPool, *, steps: int) -> Recurrence:
        """tensors: the layer's own; pool: where to take buffers; steps: how many are remembered for the way back."""
        ...


def window_scan(
    make: RecurrenceMaker, pool: BufferPool, projected: Tensor, hidden: Tensor, cell: Tensor, *tensors: Tensor
) -> tuple[Tensor, Tensor]:
    """Run an LSTM's recurrence over a window.

    Args:
        make: makes the recurrence of the window from `tensors`.
        pool: the layer's buffers.
        projected: (T, B, 4H), the input's part of the gates, bias included.
        hidden: (B, H), before the first step.
        cell: (B, H), before the first step.
        tensors: what the recurrence needs: weights, further projections.

    Returns:
        Outputs (T, B, H), the last of which is the hidden state after the window, and the cell state after it (B, H).
    """
    kind = hidden.dtype
    inputs = [tensor.to(kind).contiguous() for tensor in (projected, hidden, cell, *tensors)]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
        outputs, after = _WindowScan.apply(make, pool, *inputs)  # type: ignore[no-untyped-call]
        return outputs, after
    outputs, after, tape = _run(make, pool, inputs, remember=False)
    pool.give(tape.buffers())
    return outputs, after


class _Tape:
    """What a window keeps for the way back: activated gates, cells before and after, their tanh (S, B, ...)."""

    def __init__(self, recurrence: Recurrence, gates: Tensor, cells: Tensor, squashed: Tensor) -> None:
        self.recurrence, self.gates, self.cells, self.squashed = recurrence, gates, cells, squashed

    def buffers(self) -> list[Tensor]:
        return [self.gates, self.cells, self.squashed, *self.recurrence.buffers()]


def _run(
    make: RecurrenceMaker, pool: BufferPool, inputs: Sequence[Tensor], *, remember: bool
) -> tuple[Tensor, Tensor, _Tape]:
    """The way forward; without `remember` the tape is one step long and written over."""
    projected, hidden, cell, *tensors = inputs
    steps, batch, width = projected.shape[0], *hidden.shape
    slots = steps if remember else 1
    gates = pool.take((slots, batch, 4 * width), hidden)
    cells, squashed = pool.take((slots + 1, batch, width), hidden), pool.take((slots, batch, width), hidden)
    recurrence = make(tensors, pool, steps=slots)
    outputs = torch.empty(steps, batch, width, dtype=hidden.dtype, device=hidden.device)
    cells[0].copy_(cell)
    packed = gates.view(slots, batch, 4, width)
    # views are made once: a slice costs as much as a small product
    sigmoids, candidates, outs_of = packed[:, :, :2].unbind(), packed[:, :, 2].unbind(), packed[:, :, 3].unbind()
    inputs_of, forgets = packed[:, :, 0].unbind(), packed[:, :, 1].unbind()
    rows, states, tanhs, outs, parts = gates.unbind(), cells.unbind(), squashed.unbind(), outputs.unbind(), projected
    for step, (part, out) in enumerate(zip(parts.unbind(), outs, strict=True)):
        slot = step if remember else 0
        before, after = states[slot], states[slot + 1]
        recurrence.forward(slot, hidden, part, rows[slot])
        sigmoids[slot].sigmoid_()
        candidates[slot].tanh_()
        outs_of[slot].sigmoid_()
        torch.mul(forgets[slot], before, out=after).addcmul_(inputs_of[slot], candidates[slot])
        torch.tanh(after, out=tanhs[slot])
        torch.mul(outs_of[slot], tanhs[slot], out=out)
        hidden = out
        if not remember:
            before.copy_(after)
    return outputs, cells[slots].clone(), _Tape(recurrence, gates, cells, squashed)


class _WindowScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, make: RecurrenceMaker, pool: BufferPool, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        outputs, cell, ctx.tape = _run(make, pool, inputs, remember=True)
        ctx.pool = pool
        ctx.save_for_backward(inputs[1], outputs)
        return outputs, cell

    @staticmethod
    def backward(ctx: Any, d_outputs: Tensor, d_cell: Tensor) -> tuple[Any, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("window_scan: has no second derivative; call backward without create_graph")
        if ctx.tape is None:
            raise RuntimeError("window_scan: this window's memory was given back by an earlier backward pass")
        first, outputs = ctx.saved_tensors
        tape, pool, d_outputs = ctx.tape, ctx.pool, d_outputs.contiguous()
        steps, batch, width = outputs.shape
        slopes, cell_slopes = _slopes(tape, pool)
        d_gates = torch.empty_like(tape.gates)
        packed, slopes_of = d_gates.view(steps, batch, 4, width), slopes.view(steps, batch, 4, width)
        d_three, d_last = packed[:, :, :3].unbind(), packed[:, :, 3].unbind()
        three, last = slopes_of[:, :, :3].unbind(), slopes_of[:, :, 3].unbind()
        forget = tape.gates.view(steps, batch, 4, width)[:, :, 1].unbind()
        d_hidden, d_cell, zero = d_outputs[-1].clone(), d_cell.clone(), torch.zeros_like(first)
        d_outs, d_rows, cell_parts = d_outputs.unbind(), d_gates.unbind(), cell_slopes.unbind()
        d_cell_of_gates = d_cell[:, None]  # a view, so that it follows d_cell
        for step in reversed(range(steps)):
            d_cell.addcmul_(d_hidden, cell_parts[step])
            torch.mul(d_cell_of_gates, three[step], out=d_three[step])
            torch.mul(d_hidden, last[step], out=d_last[step])
            tape.recurrence.backward(step, d_rows[step], d_outs[step - 1] if step else zero, d_hidden)
            d_cell.mul_(forget[step])
        before = torch.cat([first[None], outputs[:-1]])
        own = tape.recurrence.gradients(d_gates, before)
        ctx.tape = None
        pool.give([*tape.buffers(), slopes, cell_slopes])
        return (None, None, d_gates, d_hidden, d_cell, *own)


def _slopes(tape: _Tape, pool: BufferPool) -> tuple[Tensor, Tensor]:
    """What the way back multiplies with, for all steps at once.

    Returns:
        (T, B, 4H): d cell / d gate before its activation, for the output gate d hidden / d gate; and (T, B, H):
        d hidden / d cell.
    """
    slopes = pool.take(tape.gates.shape, tape.gates)
    cell_slopes = pool.take(tape.squashed.shape, tape.squashed)
    i, f, g, o = tape.gates.chunk(4, dim=-1)
    of_i, of_f, of_g, of_o = slopes.chunk(4, dim=-1)
    for gate, slope in ((i, of_i), (f, of_f), (o, of_o)):  # y - y^2
        torch.addcmul(gate, gate, gate, value=-1, out=slope)
    torch.mul(g, g, out=of_g).neg_().add_(1)
    of_i.mul_(g)
    of_f.mul_(tape.cells[:-1])
    of_g.mul_(i)
    of_o.mul_(tape.squashed)
    torch.mul(tape.squashed, tape.squashed, out=cell_slopes).neg_().add_(1).mul_(o)
    return slopes, cell_slopes
