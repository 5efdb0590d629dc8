"""The gates of an LSTM with their weights made ready.

Rows of a packed matrix are reordered so that the gates of one unit stand side by side: one kernel forms and applies
them. For more streams than it serves well there are matrix products, and for their windows the library's kernel.

T steps in the window, B sequences, I input width, M width of what depends on the step before, H hidden width.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from refrain.nn.kernels.packed_linear import FEW_STREAMS, WeightType, kernels, prepare_matrices

from .layer import LSTMState


class LSTMGates:
    """The four gates of an LSTM from two inputs, and what they make of its cell.

    Args:
        first: (4H, I), acts on what a whole window may be projected through.
        second: (4H, M), acts on what depends on the step before.
        bias: (4H,).
        weights: what the matrices become.
    """

    def __init__(self, first: Tensor, second: Tensor, bias: Tensor, weights: WeightType) -> None:
        self._first, self._second = prepare_matrices([by_unit(first, 4), by_unit(second, 4)], weights)
        self._bias, self._unit_bias = bias.detach(), by_unit(bias, 4)
        self._kernel = kernels().refrain_lstm

    @functools.cached_property
    def _dense_first(self) -> Tensor:
        """The first matrix in float32, gate after gate; made when first wanted, and kept."""
        return _by_gate(self._first.dense())

    @functools.cached_property
    def _dense_second(self) -> Tensor:
        """The second."""
        return _by_gate(self._second.dense())

    def __call__(self, x: Tensor, y: Tensor, cell: Tensor) -> tuple[Tensor, LSTMState]:
        """x (B, I), y (B, M), cell (B, H) -> the output (B, H) and the next state."""
        if len(x) > FEW_STREAMS:
            sums = torch.addmm(self._bias, x, self._dense_first.T).addmm_(y, self._dense_second.T)
            return self._step(None, None, None, None, _units_last(sums), cell, torch.empty_like(cell))
        x, y = x.contiguous(), y.contiguous()
        both = self._first.address, self._second.address
        return self._step(*both, x, y, self._unit_bias, cell, torch.empty_like(cell))

    def window(self, inputs: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """A window of an LSTM, whose M is H: inputs (T, B, I) -> outputs (T, B, H) and the state after it."""
        if inputs.shape[1] > FEW_STREAMS:
            weights = [self._dense_first, self._dense_second, self._bias, torch.zeros_like(self._bias)]
            start = state.hidden[None], state.cell[None]
            outputs, hidden, cell = torch.lstm(inputs, start, weights, True, 1, 0.0, False, False, False)
            return outputs, LSTMState(hidden[0], cell[0])
        base, before = self.project(inputs), state.hidden.contiguous()
        cell = state.cell.clone(memory_format=torch.contiguous_format)
        outputs = inputs.new_empty(*inputs.shape[:2], cell.shape[1])
        pointers = (tensor.data_ptr() for tensor in (base, before, outputs, cell))
        kernels().refrain_lstm_window(self._second.address, *pointers, cell.shape[1], len(cell), len(inputs))
        return outputs, LSTMState(outputs[-1], cell)

    def project(self, inputs: Tensor) -> Tensor:
        """inputs (T, B, I) -> what the first matrix and the bias give (T, B, 4H): of few streams unit by unit."""
        sums = F.linear(inputs, self._dense_first, self._bias)
        return sums if inputs.shape[1] > FEW_STREAMS else _units_last(sums)

    def recur(self, projected: Tensor, y: Tensor, cell: Tensor, hidden: Tensor) -> tuple[Tensor, LSTMState]:
        """One step of a window.

        Args:
            projected: (B, 4H), from `project`.
            y: (B, M).
            cell: (B, H).
            hidden: (B, H), where the output goes.
        """
        if len(y) > FEW_STREAMS:
            sums = torch.addmm(projected, y, self._dense_second.T)
            return self._step(None, None, None, None, _units_last(sums), cell, hidden)
        return self._step(None, self._second.address, None, y.contiguous(), projected, cell, hidden)

    def _step(
        self,
        first: int | None,
        second: int | None,
        x: Tensor | None,
        y: Tensor | None,
        base: Tensor,
        cell: Tensor,
        hidden: Tensor,
    ) -> tuple[Tensor, LSTMState]:
        """The kernel; `base`, (4H,) or (B, 4H), unit by unit, is added to what the matrices give."""
        cell = cell.contiguous()
        after = torch.empty_like(cell)
        self._kernel(
            first,
            second,
            None if x is None else x.data_ptr(),
            None if y is None else y.data_ptr(),
            base.data_ptr(),
            base.shape[1] if base.ndim == 2 else 0,
            cell.data_ptr(),
            hidden.data_ptr(),
            after.data_ptr(),
            cell.shape[1],
            len(cell),
        )
        return hidden, LSTMState(hidden, after)


def by_unit(packed: Tensor, gates: int) -> Tensor:
    """Rows gate after gate (G * H, ...) -> the same, unit after unit.

    Args:
        packed: a weight or a bias.
        gates: G.
    """
    by_gate: Tensor = packed.detach().unflatten(0, (gates, -1))
    return by_gate.transpose(0, 1).flatten(0, 1).contiguous()


def _units_last(sums: Tensor) -> Tensor:
    """(..., 4H) gate after gate -> the same, unit after unit."""
    sorted_by_unit: Tensor = sums.unflatten(-1, (4, -1)).transpose(-1, -2).flatten(-2)
    return sorted_by_unit


def _by_gate(packed: Tensor) -> Tensor:
    """Rows unit after unit (H * 4, ...) -> the same, gate after gate."""
    units: Tensor = packed.unflatten(0, (-1, 4))
    by_gate: Tensor = units.transpose(0, 1).flatten(0, 1)
    return by_gate
