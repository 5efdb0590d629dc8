"""Gated recurrent unit (Cho et al., 2014), with the reset gate after the product, as cuDNN and torch compute it.

One bias per layer, on the input side, where cuDNN's layout has two; gates are packed in the order reset, update,
candidate.

T steps in the window, B sequences, I input width, H hidden width.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from refrain.axes import Axis, AxisTable
from refrain.nn.kernels.backend import PLAIN, kernels_for, scans
from refrain.nn.kernels.buffer_pool import BufferPool
from refrain.nn.recurrent.lstm.scan import linear
from refrain.nn.recurrent.protocol import check_window, in_one_buffer, run_kernel
from refrain.nn.weight_transforms import match_gains, transform_axes

from .cpu import gru_window
from .scan import gru_scan


class GRUState(NamedTuple):
    """What a GRU carries from one step to the next."""

    hidden: Tensor  # (B, H)


def gru_step(x: Tensor, state: GRUState, w_ih: Tensor, w_hh: Tensor, bias: Tensor) -> tuple[Tensor, GRUState]:
    """One step. The reference that `GRU` is tested against.

    Args:
        x: (B, I).
        state: hidden (B, H).
        w_ih: (3H, I).
        w_hh: (3H, H).
        bias: (3H,).

    Returns:
        The output (B, H), which is also the new hidden state, and the new state.
    """
    reset_x, update_x, candidate_x = (x @ w_ih.T + bias).chunk(3, dim=-1)
    reset_h, update_h, candidate_h = (state.hidden @ w_hh.T).chunk(3, dim=-1)
    reset, update = (reset_x + reset_h).sigmoid(), (update_x + update_h).sigmoid()
    candidate = (candidate_x + reset * candidate_h).tanh()
    hidden = (1 - update) * candidate + update * state.hidden
    return hidden, GRUState(hidden)


class GRU(nn.Module):
    """A GRU layer that owns its weights and takes its state as an argument.

    Args:
        input_size: I.
        hidden_size: H.
        input_transform: maps the (3H, I) input weight to the one used for this window.
        recurrent_transform: maps the (3H, H) recurrent weight to the one used for this window.

    Attributes:
        engine: what a window is computed with while training.
        kernels: name of the file of kernels.

    Raises:
        ValueError: when a width is not positive.
    """

    kernels = "gru"
    inner_widths: tuple[str, ...] = ()

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        input_transform: nn.Module | None = None,
        recurrent_transform: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if input_size < 1 or hidden_size < 1:
            raise ValueError(f"GRU widths must be positive, got {input_size=}, {hidden_size=}")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.weight_ih = nn.Parameter(torch.empty(3 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(3 * hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.empty(3 * hidden_size))
        self.input_transform = input_transform or nn.Identity()
        self.recurrent_transform = recurrent_transform or nn.Identity()
        self.engine = PLAIN
        self._pool = BufferPool()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights from U(-1/sqrt(H), 1/sqrt(H)), as torch's own GRU does. Changes them in place.

        Every weight norm starts at the norm of its weight.
        """
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters(recurse=False):
            nn.init.uniform_(parameter, -bound, bound)
        match_gains(self)

    @property
    def transforms(self) -> dict[str, nn.Module]:
        """Weight name -> its transform."""
        return {"weight_ih": self.input_transform, "weight_hh": self.recurrent_transform}

    def initial_state(self, batch_size: int) -> GRUState:
        """Zeros: hidden (B, H)."""
        return GRUState(self.weight_hh.new_zeros(batch_size, self.hidden_size))

    def forward(self, inputs: Tensor, state: GRUState) -> tuple[Tensor, GRUState]:
        """inputs (T, B, I) -> outputs (T, B, H) and the state after the last step.

        Raises:
            ValueError: when a width or the batch does not fit.
        """
        check_window(self.input_size, self.hidden_size, inputs, state)
        w_ih, w_hh = self.input_transform(self.weight_ih), self.recurrent_transform(self.weight_hh)
        if kernels_for(self, inputs, *state, w_ih, w_hh, self.bias):
            outputs = run_kernel(gru_window, self._pool, self.engine.bf16, inputs, state.hidden, w_ih, w_hh, self.bias)
            return outputs, GRUState(outputs[-1])
        if scans(self, inputs, *state):
            projected = linear(inputs, w_ih, self.bias, self.engine)
            outputs = run_kernel(gru_scan, self._pool, self.engine, projected, state.hidden, w_hh)
            return outputs, GRUState(outputs[-1])
        weights = [w_ih, w_hh, self.bias, torch.zeros_like(self.bias)]
        if inputs.is_cuda:
            weights = in_one_buffer(weights)
        outputs, hidden = run_kernel(
            torch.gru, inputs, state.hidden[None], weights, True, 1, 0.0, self.training, False, False
        )
        return outputs, GRUState(hidden[0])

    def step(self, x: Tensor, state: GRUState) -> tuple[Tensor, GRUState]:
        """One time step: x (B, I) -> output (B, H) and the next state."""
        check_window(self.input_size, self.hidden_size, x, state)
        w_ih, w_hh = self.input_transform(self.weight_ih), self.recurrent_transform(self.weight_hh)
        return gru_step(x, state, w_ih, w_hh, self.bias)

    def axes(self, input_width: str, hidden_width: str) -> AxisTable:
        """The axes of each parameter, under the width names that the model chose."""
        rows = Axis(hidden_width, 3)
        return {
            "weight_ih": (rows, Axis(input_width, role="reads")),
            "weight_hh": (rows, Axis(hidden_width, role="reads")),
            "bias": (rows._replace(role="shifts"),),
            **transform_axes("input_transform", self.input_transform, rows),
            **transform_axes("recurrent_transform", self.recurrent_transform, rows),
        }
