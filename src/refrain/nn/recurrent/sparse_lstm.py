"""A layer of small LSTMs side by side, each on a part of the input: predefined sparseness.

Demeester et al. (2018), Predefined Sparseness in Recurrent Sequence Models, arXiv 1808.08720, section 2.1. The paper's
code runs the small LSTMs one after another; here all of them advance in one batched product a step.

T steps in the window, B sequences, I input width, H hidden width, k blocks, of at most i inputs and h units each.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refrain.axes import AxisTable, Segment
from refrain.nn.segments import Block, SparsePlan

from .lstm import LSTM, LSTMState
from .scan import check_window, run_kernel
from .window_scan import BufferPool, window_scan


class SparseLSTM(nn.Module):
    """k LSTMs that own a part of the units each and see a part of the inputs each; outputs stand side by side.

    Args:
        plan: who sees what, as from `plan_blocks` or `plan_reduction`.
        block: makes the LSTM of a block from its widths, for example with a recurrent transform.
    """

    def __init__(self, plan: SparsePlan, *, block: Callable[[int, int], LSTM] = LSTM) -> None:
        super().__init__()
        self.plan = plan
        self.input_size, self.hidden_size = plan.input_size, plan.hidden_size
        self.blocks = nn.ModuleList([block(part.end - part.begin, part.units) for part in plan.blocks])
        self._units = [part.units for part in plan.blocks]
        self._pool = BufferPool()

    def reset_parameters(self) -> None:
        """Draw the weights of each block as `LSTM` does, from its own width. Changes them in place."""
        for lstm in self._lstms():
            lstm.reset_parameters()

    def initial_state(self, batch_size: int) -> LSTMState:
        """Zeros: hidden and cell, each (B, H)."""
        zeros = self._lstms()[0].weight_hh.new_zeros(batch_size, self.hidden_size)
        return LSTMState(zeros, zeros)

    def in_turn(self, inputs: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """A window, one block after another: the readable truth. Arguments as those of `forward`."""
        parts = []
        states = zip(state.hidden.split(self._units, -1), state.cell.split(self._units, -1), strict=True)
        for lstm, block, (hidden, cell) in zip(self._lstms(), self.plan.blocks, states, strict=True):
            parts.append(lstm(inputs[..., block.begin : block.end], LSTMState(hidden.contiguous(), cell.contiguous())))
        outputs, after = zip(*parts, strict=True)
        return torch.cat(outputs, -1), LSTMState(*(torch.cat(tensors, -1) for tensors in zip(*after, strict=True)))

    def forward(self, inputs: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """inputs (T, B, I) -> outputs (T, B, H) and the state after the last step.

        Raises:
            ValueError: when a width or the batch does not fit.
        """
        check_window(self.input_size, self.hidden_size, inputs, state)
        if len(self.blocks) == 1:
            return self.in_turn(inputs, state)
        w_ih, w_hh, bias = self._packed()
        projected = _Projected.apply(inputs, self.plan.blocks, *w_ih, *bias)  # type: ignore[no-untyped-call]
        hidden, cell = self._spread(state.hidden), self._spread(state.cell)
        outputs, cell = run_kernel(window_scan, BlockRecurrence, self._pool, projected, hidden, cell, w_hh)
        outputs, cell = self._joined(outputs), self._joined(cell)
        return outputs, LSTMState(outputs[-1], cell)

    def step(self, x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """One time step: x (B, I) -> output (B, H) and the next state."""
        check_window(self.input_size, self.hidden_size, x, state)
        gates = []
        parts = zip(self._lstms(), self.plan.blocks, state.hidden.split(self._units, -1), strict=True)
        for lstm, block, hidden in parts:
            w_ih, w_hh = lstm.input_transform(lstm.weight_ih), lstm.recurrent_transform(lstm.weight_hh)
            own = F.linear(x[..., block.begin : block.end], w_ih, lstm.bias)
            gates.append(torch.addmm(own, hidden, w_hh.T).unflatten(-1, (4, -1)))
        i, f, g, o = torch.cat(gates, -1).unbind(-2)  # each (B, H)
        cell = f.sigmoid() * state.cell + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * cell.tanh()
        return hidden, LSTMState(hidden, cell)

    def axes(self, input_width: str, hidden_width: str) -> AxisTable:
        """The axes of each block's parameters, which run along parts of the layer's widths."""
        table: AxisTable = {}
        owned = pairwise(accumulate(self._units, initial=0))
        for index, (lstm, block, (first, last)) in enumerate(zip(self._lstms(), self.plan.blocks, owned, strict=True)):
            seen, own = Segment(block.begin, block.end, self.input_size), Segment(first, last, self.hidden_size)
            # told apart by a name, as both widths may be one
            for name, axes in lstm.axes("input", hidden_width).items():
                table[f"blocks.{index}.{name}"] = tuple(
                    axis._replace(width=input_width, segment=seen)
                    if axis.width == "input"
                    else axis._replace(segment=own)
                    for axis in axes
                )
        return table

    def extra_repr(self) -> str:
        """The plan, for print."""
        return str(self.plan)

    def _lstms(self) -> list[Any]:
        return list(self.blocks)

    def _packed(self) -> tuple[list[Tensor], Tensor, list[Tensor]]:
        """The weights of this window: of the inputs (4h, own inputs) a block, recurrent (k, 4h, h), biases (4h,).

        A block that has fewer units than others gets zeros; units of zero weights stay zero.
        """
        widest = max(self._units)
        w_ih = [_padded(lstm.input_transform(lstm.weight_ih), widest, 0) for lstm in self._lstms()]
        w_hh = [_padded(lstm.recurrent_transform(lstm.weight_hh), widest, widest) for lstm in self._lstms()]
        bias = [_padded(lstm.bias[:, None], widest, 0)[:, 0] for lstm in self._lstms()]
        return w_ih, torch.stack(w_hh), bias

    def _spread(self, values: Tensor) -> Tensor:
        """(B, H) -> (B * k, h), each block's units padded with zeros."""
        widest = max(self._units)
        if min(self._units) == widest:
            return values.reshape(-1, widest)
        parts = [F.pad(part, (0, widest - part.shape[-1])) for part in values.split(self._units, -1)]
        return torch.stack(parts, 1).flatten(0, 1)

    def _joined(self, values: Tensor) -> Tensor:
        """(..., B * k, h) -> (..., B, H)."""
        rows = values.unflatten(-2, (-1, len(self._units)))
        if min(self._units) == max(self._units):
            joined: Tensor = rows.flatten(-2)
            return joined
        return torch.cat([part[..., :units] for part, units in zip(rows.unbind(-2), self._units, strict=True)], -1)


def _padded(weight: Tensor, units: int, columns: int) -> Tensor:
    """(4 * own units, own columns) -> (4 * units, columns or more), with zeros behind rows and columns."""
    gates = weight.unflatten(0, (4, -1))
    more = (0, max(columns - gates.shape[2], 0), 0, units - gates.shape[1])
    return (F.pad(gates, more) if any(more) else gates).flatten(0, 1)


class _Projected(torch.autograd.Function):
    """The inputs' part of the gates, (T, B, I) -> (T, B * k, 4h): a large product a block, none of them copied.

    By hand, as each of the stretches of the inputs, which overlap, would otherwise get a gradient as
    large as the inputs.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, blocks: Sequence[Block], *weights: Tensor) -> Tensor:
        count, rows = len(blocks), inputs.flatten(0, 1)
        gates = inputs.new_empty(len(rows), count, len(weights[0]))
        for index, (begin, end, _) in enumerate(blocks):
            torch.addmm(weights[count + index], rows[:, begin:end], weights[index].T, out=gates[:, index])
        ctx.blocks = blocks
        ctx.save_for_backward(inputs, *weights[:count])
        return gates.view(inputs.shape[0], -1, gates.shape[-1])

    @staticmethod
    def backward(ctx: Any, d_gates: Tensor) -> tuple[Any, ...]:
        inputs, *weights = ctx.saved_tensors
        rows, d_rows = inputs.flatten(0, 1), torch.zeros_like(inputs.flatten(0, 1))
        d_gates = d_gates.reshape(len(rows), len(weights), -1)
        d_weights = []
        for part, weight, (begin, end, _) in zip(d_gates.unbind(1), weights, ctx.blocks, strict=True):
            d_rows[:, begin:end].addmm_(part, weight)
            d_weights.append(part.T @ rows[:, begin:end])
        return d_rows.view_as(inputs), None, *d_weights, *d_gates.sum(0).unbind()


class BlockRecurrence:
    """Hidden state -> gates, within blocks; see `Recurrence`. Its rows are the blocks of each sequence.

    Args:
        tensors: w_hh (k, 4h, h).
        pool: where to take buffers; none are needed.
        steps: how many are remembered.
    """

    def __init__(self, tensors: Sequence[Tensor], pool: BufferPool, *, steps: int) -> None:
        (self.w_hh,) = tensors
        self._transposed = self.w_hh.mT
        self._products: dict[int, Tensor] = {}

    def forward(self, slot: int, hidden: Tensor, projected: Tensor, out: Tensor) -> None:
        """Gates of a step, before their activations."""
        torch.add(projected, self._product(hidden, self._transposed), out=out)

    def backward(self, step: int, d_gates: Tensor, d_outputs: Tensor, out: Tensor) -> None:
        """The gradient of the hidden state before a step."""
        torch.add(d_outputs, self._product(d_gates, self.w_hh), out=out)

    def _product(self, rows: Tensor, weights: Tensor) -> Tensor:
        """(B * k, n) times a matrix of each block, (k, n, m) -> (B * k, m)."""
        blocks, _, width = weights.shape
        by_block = rows.view(-1, blocks, rows.shape[1]).transpose(0, 1)
        if width not in self._products:
            # the library multiplies all blocks at once only into memory where each has its rows together
            self._products[width] = rows.new_empty(blocks, by_block.shape[1], width)
        return torch.bmm(by_block, weights, out=self._products[width]).transpose(0, 1).reshape(len(rows), width)

    def gradients(self, d_gates: Tensor, hidden: Tensor) -> tuple[Tensor, ...]:
        """Of the weights, a large product a block."""
        gates, before = (each.view(-1, len(self.w_hh), each.shape[-1]).unbind(1) for each in (d_gates, hidden))
        return (torch.stack([part.T @ own for part, own in zip(gates, before, strict=True)]),)

    def buffers(self) -> list[Tensor]:
        """None was taken from the pool."""
        return []
