"""An LSTM for inference, with its weights packed.

Rows of a packed matrix are reordered so that the gates of one unit are adjacent: one kernel computes and applies them.
For a larger batch than it serves well, matmuls are used, and torch's LSTM kernel for windows.

T steps in the window, B batch, I input width, M width of what depends on the step before, H hidden width.
"""

import functools

import torch
from torch import Tensor

from refrain.nn.kernels.backend import outside_autocast
from refrain.nn.kernels.call import kernel
from refrain.nn.kernels.packed_linear import (
    PackedMatrix,
    WeightType,
    float32_addmm,
    float32_linear,
    pack_matrices,
)
from refrain.nn.kernels.streams import SMALL_BATCH, StreamGates, largest_small_batch, stream_lanes
from refrain.nn.recurrent.packed import as_float32, by_gate, by_unit

from .integer import IntegerLSTM, Rounded
from .state import LSTMState

float32_lstm = outside_autocast(torch.lstm)


class PackedLSTM:
    """An LSTM; the arithmetic is that of `lstm_step`.

    Args:
        w_ih: (4H, I); copied, like the others.
        w_hh: (4H, H).
        bias: (4H,).
        weights: dtype of the packed weights.
    """

    def __init__(self, w_ih: Tensor, w_hh: Tensor, bias: Tensor, weights: WeightType) -> None:
        self._sizes = w_ih.shape[1], w_hh.shape[1]
        self._gates = LSTMGates(w_ih, w_hh, bias, weights)

    def step(self, x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """One time step: x (B, I) -> output (B, H) and the next state."""
        x, state = as_float32(self._sizes, x, state)
        return self._gates(x, state.hidden, state.cell)

    def window(self, inputs: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """inputs (T, B, I) -> outputs (T, B, H) and the state after the last step."""
        inputs, state = as_float32(self._sizes, inputs, state)
        return self._gates.window(inputs, state)

    def in_integers(self) -> IntegerLSTM:
        """The layer with int8 matmuls, for scoring; its weights are int8."""
        return IntegerLSTM(*self._gates.rounded(), self._gates.bias)


class LSTMGates:
    """The four gates of an LSTM-like layer from two inputs, and its cell.

    Args:
        first: (4H, I), acts on the inputs, for a whole window at once where that helps.
        second: (4H, M), acts on what depends on the step before.
        bias: (4H,).
        weights: dtype of the packed weights.
    """

    def __init__(self, first: Tensor, second: Tensor, bias: Tensor, weights: WeightType) -> None:
        self._first, self._second = pack_matrices([by_unit(first, 4), by_unit(second, 4)], weights)
        self.bias = bias.detach()
        self._unit_bias = by_unit(bias, 4)

    @functools.cached_property
    def _dense_first(self) -> Tensor:
        """The first matrix in float32, gate by gate; made on first use."""
        return by_gate(self._first.dense(), 4)

    @functools.cached_property
    def _dense_second(self) -> Tensor:
        """The second matrix in float32, gate by gate; made on first use."""
        return by_gate(self._second.dense(), 4)

    @functools.cached_property
    def _streams(self) -> StreamGates | None:
        """The gates for a batch of many streams; None where their kernels cannot be compiled."""
        return StreamGates(_ByGate(self._first), _ByGate(self._second), self.bias) if stream_lanes() else None

    def rounded(self) -> tuple[Rounded, Rounded]:
        """Both int8 matrices, gate by gate."""
        return _ByGate(self._first).multiples(), _ByGate(self._second).multiples()

    def __call__(self, x: Tensor, y: Tensor, cell: Tensor) -> tuple[Tensor, LSTMState]:
        """x (B, I), y (B, M), cell (B, H) -> the output (B, H) and the next state."""
        if len(x) > largest_small_batch(self._first.is_rounded) and self._streams is not None:
            hidden, after = self._streams(x.contiguous(), y.contiguous(), cell.contiguous())
            return hidden, LSTMState(hidden, after)
        hidden = torch.empty_like(cell)
        if len(x) > SMALL_BATCH:
            sums = float32_addmm(self.bias, x, self._dense_first.T).addmm_(y, self._dense_second.T)
            return self._step(_gates_adjacent(sums), cell, hidden)
        first = (self._first, x.contiguous())
        second = (self._second, y.contiguous())
        return self._step(self._unit_bias, cell, hidden, first=first, second=second)

    def window(self, inputs: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """A window of an LSTM, whose M is H: inputs (T, B, I) -> outputs (T, B, H) and the state after it."""
        if inputs.shape[1] > SMALL_BATCH:
            weights = [self._dense_first, self._dense_second, self.bias, torch.zeros_like(self.bias)]
            start = state.hidden[None], state.cell[None]
            outputs, hidden, cell = float32_lstm(inputs, start, weights, True, 1, 0.0, False, False, False)
            return outputs, LSTMState(hidden[0], cell[0])
        projected = self.project(inputs)
        before = state.hidden.contiguous()
        cell = state.cell.clone(memory_format=torch.contiguous_format)
        steps, batch, _ = inputs.shape
        width = cell.shape[1]
        outputs = inputs.new_empty(steps, batch, width)
        tensors = (self._second, projected, before, outputs, cell)
        kernel("stepper", "stepper_lstm_window")(*tensors, width, batch, steps)
        return outputs, LSTMState(outputs[-1].clone(), cell)

    def project(self, inputs: Tensor) -> Tensor:
        """inputs (T, B, I) -> the input's part of the gates (T, B, 4H); for a small batch, unit by unit."""
        sums = float32_linear(inputs, self._dense_first, self.bias)
        return sums if inputs.shape[1] > SMALL_BATCH else _gates_adjacent(sums)

    def recur(self, projected: Tensor, y: Tensor, cell: Tensor, hidden: Tensor) -> tuple[Tensor, LSTMState]:
        """One step of a window.

        Args:
            projected: (B, 4H), from `project`.
            y: (B, M).
            cell: (B, H).
            hidden: (B, H), where the output is written.
        """
        if len(y) > SMALL_BATCH:
            sums = float32_addmm(projected, y, self._dense_second.T)
            return self._step(_gates_adjacent(sums), cell, hidden)
        return self._step(projected, cell, hidden, second=(self._second, y.contiguous()))

    def _step(
        self,
        base: Tensor,
        cell: Tensor,
        hidden: Tensor,
        *,
        first: tuple[PackedMatrix, Tensor] | tuple[None, None] = (None, None),
        second: tuple[PackedMatrix, Tensor] | tuple[None, None] = (None, None),
    ) -> tuple[Tensor, LSTMState]:
        """Run the kernel: `base`, (4H,) or (B, 4H) unit by unit, is added to each matrix times its input."""
        cell = cell.contiguous()
        after = torch.empty_like(cell)
        (first_matrix, x), (second_matrix, y) = first, second
        batch, width = cell.shape
        stride = base.shape[1] if base.ndim == 2 else 0
        tensors = (first_matrix, second_matrix, x, y, base, cell, hidden, after)
        kernel("stepper", "stepper_lstm")(*tensors, stride, width, batch)
        return hidden, LSTMState(hidden, after)


class _ByGate:
    """A packed matrix of units, with its rows stacked gate by gate."""

    def __init__(self, matrix: PackedMatrix) -> None:
        self._matrix = matrix
        self.is_rounded = matrix.is_rounded

    def dense(self) -> Tensor:
        return by_gate(self._matrix.dense(), 4)

    def multiples(self) -> tuple[Tensor, Tensor]:
        multiples, scales = self._matrix.multiples()
        return by_gate(multiples, 4), by_gate(scales, 4)


def _gates_adjacent(sums: Tensor) -> Tensor:
    """(..., 4H) gate by gate -> the same, unit by unit."""
    ordered: Tensor = sums.unflatten(-1, (4, -1)).transpose(-1, -2).flatten(-2)
    return ordered
