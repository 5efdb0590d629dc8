"""A layer of small LSTMs side by side, each on a part of the input: predefined sparseness.

Demeester et al. (2018), Predefined Sparseness in Recurrent Sequence Models, arXiv 1808.08720, section 2.1. The paper's
code runs the small LSTMs one after another; by kernels all of them advance together, in one loop over time.

T steps in the window, B sequences, I input width, H hidden width, k blocks of at most h units.
"""

from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refrain.axes import AxisTable, Segment
from refrain.nn.kernels.backend import PLAIN, kernels_for, scans
from refrain.nn.kernels.buffer_pool import BufferPool
from refrain.nn.recurrent.lstm.layer import LSTM, LSTMState
from refrain.nn.recurrent.protocol import check_window, run_kernel
from refrain.nn.segments import SparsePlan

from .cpu import sparse_window
from .scan import sparse_scan


class SparseLSTM(nn.Module):
    """k LSTMs that own a part of the units each and see a part of the inputs each; outputs stand side by side.

    Args:
        plan: who sees what, as from `plan_blocks` or `plan_reduction`.
        block: makes the LSTM of a block from its widths, for example with a recurrent transform.

    Attributes:
        engine: what a window is computed with while training; without kernels the blocks run one after another.
        kernels: name of the file of kernels.
    """

    kernels = "lstm"
    inner_widths: tuple[str, ...] = ()

    def __init__(self, plan: SparsePlan, *, block: Callable[[int, int], LSTM] = LSTM) -> None:
        super().__init__()
        self.plan = plan
        self.input_size, self.hidden_size = plan.input_size, plan.hidden_size
        self.blocks = nn.ModuleList([block(part.end - part.begin, part.units) for part in plan.blocks])
        self._units = [part.units for part in plan.blocks]
        self.engine = PLAIN
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
        scanned = scans(self, inputs, *state)
        if len(self.blocks) == 1 or not (scanned or kernels_for(self, inputs, *state, *self.parameters())):
            return self.in_turn(inputs, state)
        w_ih, w_hh, bias = self._packed()
        arguments = inputs, self._spread(state.hidden), self._spread(state.cell), w_hh, bias, *w_ih
        if scanned:
            outputs, cell = sparse_scan(self._pool, self.engine, self.plan.blocks, *arguments)
        else:
            outputs, cell = run_kernel(sparse_window, self._pool, self.engine.bf16, self.plan.blocks, *arguments)
        outputs = self._joined(outputs)
        return outputs, LSTMState(outputs[-1], self._joined(cell))

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

    def _packed(self) -> tuple[list[Tensor], Tensor, Tensor]:
        """The weights of this window: of the inputs (4h, own inputs) a block, recurrent (k, 4h, h), biases (k, 4h).

        A block that has fewer units than others gets zeros; units of zero weights stay zero.
        """
        widest = max(self._units)
        w_ih = [_padded(lstm.input_transform(lstm.weight_ih), widest, 0) for lstm in self._lstms()]
        w_hh = [_padded(lstm.recurrent_transform(lstm.weight_hh), widest, widest) for lstm in self._lstms()]
        bias = [_padded(lstm.bias[:, None], widest, 0)[:, 0] for lstm in self._lstms()]
        return w_ih, torch.stack(w_hh), torch.stack(bias)

    def _spread(self, values: Tensor) -> Tensor:
        """(B, H) -> (k, B, h), each block's units padded with zeros."""
        widest = max(self._units)
        return torch.stack([F.pad(part, (0, widest - part.shape[-1])) for part in values.split(self._units, -1)])

    def _joined(self, values: Tensor) -> Tensor:
        """(k, ..., B, h) -> (..., B, H)."""
        return torch.cat([part[..., :units] for part, units in zip(values, self._units, strict=True)], -1)


def _padded(weight: Tensor, units: int, columns: int) -> Tensor:
    """(4 * own units, own columns) -> (4 * units, columns or more), with zeros behind rows and columns."""
    gates = weight.unflatten(0, (4, -1))
    more = (0, max(columns - gates.shape[2], 0), 0, units - gates.shape[1])
    return (F.pad(gates, more) if any(more) else gates).flatten(0, 1)
