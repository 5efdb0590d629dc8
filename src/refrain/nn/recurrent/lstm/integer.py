"""An LSTM that scores many sequences at once with int8 matmuls.

T steps in the window, B batch, I input width, H hidden width.
"""

from torch import Tensor

from refrain.nn.kernels.call import kernel
from refrain.nn.kernels.integer import in_panels, integer_linear, pack_integers
from refrain.nn.recurrent.packed import as_float32

from .state import LSTMState

Rounded = tuple[Tensor, Tensor]
"""A weight as `quantise` returns it: multiples (4H, K) in int8, stacked gate by gate, and scales (4H,)."""


def integer_lstm_step(x: Tensor, state: LSTMState, ih: Rounded, hh: Rounded, bias: Tensor) -> LSTMState:
    """One step: `lstm_step` with rounded inputs and states. The reference that `IntegerLSTM` is tested against."""
    gates = integer_linear(x, *ih) + integer_linear(state.hidden, *hh) + bias  # (B, 4H)
    i, f, g, o = gates.chunk(4, dim=-1)
    cell = f.sigmoid() * state.cell + i.sigmoid() * g.tanh()
    return LSTMState(o.sigmoid() * cell.tanh(), cell)


class IntegerLSTM:
    """An LSTM; the arithmetic is that of `integer_lstm_step`.

    Args:
        ih: the input weight.
        hh: the recurrent weight.
        bias: (4H,), gate by gate.
    """

    def __init__(self, ih: Rounded, hh: Rounded, bias: Tensor) -> None:
        self._sizes = ih[0].shape[1], hh[0].shape[1]
        self._ih, self._hh = (pack_integers(*weight, gates=4) for weight in (ih, hh))
        self._bias = in_panels(bias.detach(), gates=4).contiguous()

    def window(self, inputs: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """inputs (T, B, I) -> outputs (T, B, H) and the state after the last step."""
        inputs, state = as_float32(self._sizes, inputs, state)
        steps, batch, width = inputs.shape
        cell = state.cell.clone()
        outputs = inputs.new_empty(steps, batch, self._sizes[1])
        kernel("integer", "integer_lstm_window")(
            *(part for matrix in (self._ih, self._hh) for part in (matrix.words, matrix.scales, matrix.starts)),
            self._bias,
            inputs,
            state.hidden,
            cell,
            outputs,
            width,
            self._sizes[1],
            batch,
            steps,
        )
        return outputs, LSTMState(outputs[-1].clone(), cell)
