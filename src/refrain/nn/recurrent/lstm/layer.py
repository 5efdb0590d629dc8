"""Long short-term memory (Hochreiter & Schmidhuber, 1997; forget gate: Gers et al., 2000).

As used for language models by Zaremba et al. (2014, equations 4 to 8), without peepholes. One bias per layer, where
cuDNN's layout has two; gates are packed in the order input, forget, candidate, output.

T steps in the window, B sequences, I input width, H hidden width.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from refrain.axes import Axis, AxisTable
from refrain.nn.kernels.backend import PLAIN, kernels_for, scans
from refrain.nn.kernels.buffer_pool import BufferPool
from refrain.nn.recurrent.protocol import check_window, in_one_buffer, run_kernel
from refrain.nn.weight_transforms import match_gains, transform_axes

from .cpu import lstm_window
from .scan import PlainRecurrence, linear, window_scan


class LSTMState(NamedTuple):
    """What an LSTM carries from one step to the next."""

    hidden: Tensor  # (B, H)
    cell: Tensor  # (B, H)


def lstm_step(x: Tensor, state: LSTMState, w_ih: Tensor, w_hh: Tensor, bias: Tensor) -> tuple[Tensor, LSTMState]:
    """One step, as in the paper. The reference that `LSTM` is tested against.

    Args:
        x: (B, I).
        state: hidden and cell, each (B, H).
        w_ih: (4H, I).
        w_hh: (4H, H).
        bias: (4H,).

    Returns:
        The output (B, H), which is also the new hidden state, and the new state.
    """
    gates = x @ w_ih.T + state.hidden @ w_hh.T + bias  # (B, 4H): input, forget, candidate, output
    i, f, g, o = gates.chunk(4, dim=-1)
    cell = f.sigmoid() * state.cell + i.sigmoid() * g.tanh()
    hidden = o.sigmoid() * cell.tanh()
    return hidden, LSTMState(hidden, cell)


class LSTM(nn.Module):
    """An LSTM layer that owns its weights and takes its state as an argument.

    Args:
        input_size: I.
        hidden_size: H.
        input_transform: maps the (4H, I) input weight to the one used for this window.
        recurrent_transform: maps the (4H, H) recurrent weight to the one used for this window, for example
            `WeightDropout(0.5)`. The stored weight, and its name in a checkpoint, stay as they are.

    Attributes:
        engine: what a window is computed with while training.
        kernels: name of the file of kernels.

    Raises:
        ValueError: when a width is not positive.
    """

    kernels = "lstm"
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
            raise ValueError(f"LSTM widths must be positive, got {input_size=}, {hidden_size=}")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.empty(4 * hidden_size))
        self.input_transform = input_transform or nn.Identity()
        self.recurrent_transform = recurrent_transform or nn.Identity()
        self.engine = PLAIN
        self._pool = BufferPool()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights from U(-1/sqrt(H), 1/sqrt(H)), as torch's own LSTM does. Changes them in place.

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

    def initial_state(self, batch_size: int) -> LSTMState:
        """Zeros: hidden and cell, each (B, H)."""
        zeros = self.weight_hh.new_zeros(batch_size, self.hidden_size)
        return LSTMState(zeros, zeros)

    def forward(self, inputs: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """inputs (T, B, I) -> outputs (T, B, H) and the state after the last step.

        Raises:
            ValueError: when a width or the batch does not fit.
        """
        check_window(self.input_size, self.hidden_size, inputs, state)
        # once a window, so that all T steps share one transformed weight
        w_ih, w_hh = self.input_transform(self.weight_ih), self.recurrent_transform(self.weight_hh)
        if kernels_for(self, inputs, *state, w_ih, w_hh, self.bias):
            outputs, after = run_kernel(
                lstm_window, self._pool, self.engine.bf16, inputs, *state, w_ih, w_hh, self.bias
            )
            return outputs, LSTMState(outputs[-1], after)
        if scans(self, inputs, *state):
            projected = linear(inputs, w_ih, self.bias, self.engine)
            outputs, after = run_kernel(window_scan, PlainRecurrence, self._pool, self.engine, projected, *state, w_hh)
            return outputs, LSTMState(outputs[-1], after)
        weights = [w_ih, w_hh, self.bias, torch.zeros_like(self.bias)]
        if inputs.is_cuda:
            weights = in_one_buffer(weights)
        start = (state.hidden[None], state.cell[None])
        outputs, hidden, cell = run_kernel(
            torch.lstm, inputs, start, weights, True, 1, 0.0, self.training, False, False
        )
        return outputs, LSTMState(hidden[0], cell[0])

    def step(self, x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """One time step: x (B, I) -> output (B, H) and the next state.

        For generation: the library kernel behind `forward` repacks the weights on every call, which for a single
        step costs several times the step itself.
        """
        check_window(self.input_size, self.hidden_size, x, state)
        w_ih, w_hh = self.input_transform(self.weight_ih), self.recurrent_transform(self.weight_hh)
        return lstm_step(x, state, w_ih, w_hh, self.bias)

    def axes(self, input_width: str, hidden_width: str) -> AxisTable:
        """The axes of each parameter, under the width names that the model chose."""
        rows = Axis(hidden_width, 4)
        return {
            "weight_ih": (rows, Axis(input_width, role="reads")),
            "weight_hh": (rows, Axis(hidden_width, role="reads")),
            "bias": (rows._replace(role="shifts"),),
            **transform_axes("input_transform", self.input_transform, rows),
            **transform_axes("recurrent_transform", self.recurrent_transform, rows),
        }
