"""A GRU for inference, with its weights packed.

T steps in the window, B batch, I input width, H hidden width.
"""

import functools

import torch
from torch import Tensor

from refrain.nn.kernels.call import kernel
from refrain.nn.kernels.packed_linear import (
    PackedMatrix,
    WeightType,
    float32_addmm,
    float32_linear,
    float32_mm,
    pack_matrices,
)
from refrain.nn.kernels.streams import SMALL_BATCH, StreamLinear, largest_small_batch, stream_lanes
from refrain.nn.recurrent.packed import as_float32, by_unit

from .biases import recurrent_bias
from .state import GRUState


class PackedGRU:
    """A GRU; the arithmetic is that of `gru_step`.

    Args:
        w_ih: (3H, I); copied, like the others.
        w_hh: (3H, H).
        bias: (3H,).
        weights: dtype of the packed weights.
        bias_hn: (H,), or None.
    """

    def __init__(
        self, w_ih: Tensor, w_hh: Tensor, bias: Tensor, weights: WeightType, *, bias_hn: Tensor | None = None
    ) -> None:
        self._sizes = w_ih.shape[1], w_hh.shape[1]
        self._first, self._second = pack_matrices([by_unit(w_ih, 3), by_unit(w_hh, 3)], weights, group=3)
        self._bias = by_unit(bias, 3)
        self._second_bias = None if bias_hn is None else by_unit(recurrent_bias(bias, bias_hn), 3)

    @functools.cached_property
    def _dense(self) -> tuple[Tensor, Tensor]:
        """Both matrices in float32, unit by unit; made on first use."""
        return self._first.dense(), self._second.dense()

    @functools.cached_property
    def _streams(self) -> tuple[StreamLinear, StreamLinear] | None:
        """Both matrices for a batch of many streams; None where their kernels cannot be compiled."""
        if not stream_lanes():
            return None
        return StreamLinear(self._first, self._bias), StreamLinear(self._second, self._second_bias)

    def step(self, x: Tensor, state: GRUState) -> tuple[Tensor, GRUState]:
        """One time step: x (B, I) -> output (B, H) and the next state."""
        x, state = as_float32(self._sizes, x, state)
        if len(x) > largest_small_batch(self._first.is_rounded) and self._streams is not None:
            by_input, by_state = self._streams
            return self._apply(by_input(x), by_state(state.hidden), state.hidden)
        if len(x) > SMALL_BATCH:
            return self._recur(float32_addmm(self._bias, x, self._dense[0].T), state)
        return self._recur(self._bias, state, first=self._first, x=x)

    def window(self, inputs: Tensor, state: GRUState) -> tuple[Tensor, GRUState]:
        """inputs (T, B, I) -> outputs (T, B, H) and the state after the last step."""
        inputs, state = as_float32(self._sizes, inputs, state)
        outputs = []
        for projected in float32_linear(inputs, self._dense[0], self._bias):
            out, state = self._recur(projected, state)
            outputs.append(out)
        return torch.stack(outputs), state

    def _recur(
        self, base: Tensor, state: GRUState, *, first: PackedMatrix | None = None, x: Tensor | None = None
    ) -> tuple[Tensor, GRUState]:
        """One step: `base`, (3H,) or (B, 3H) unit by unit, is added to the first matrix, if any, times x."""
        before = state.hidden
        batch = len(before)
        second: PackedMatrix | None = self._second
        bias = self._second_bias
        recurrent = None if bias is None else bias.expand(batch, -1).contiguous()
        if batch > SMALL_BATCH:
            second = None
            weight = self._dense[1].T
            recurrent = float32_mm(before, weight) if bias is None else float32_addmm(bias, before, weight)
        return self._apply(base, recurrent, before, first=first, second=second, x=x)

    def _apply(
        self,
        base: Tensor,
        recurrent: Tensor | None,
        before: Tensor,
        *,
        first: PackedMatrix | None = None,
        second: PackedMatrix | None = None,
        x: Tensor | None = None,
    ) -> tuple[Tensor, GRUState]:
        """Run the kernel: `base` and `recurrent` (B, 3H) are added to each matrix, if any, times its input."""
        hidden = torch.empty_like(before)
        batch, width = before.shape
        stride = base.shape[1] if base.ndim == 2 else 0
        tensors = (first, second, x, base, recurrent, before, hidden)
        kernel("stepper", "stepper_gru")(*tensors, stride, width, batch)
        return hidden, GRUState(hidden)
