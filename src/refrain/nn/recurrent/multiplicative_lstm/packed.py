"""A multiplicative LSTM for inference, with its weights packed.

T steps in the window, B batch, I input width, H hidden width, M intermediate width.
"""

from torch import Tensor

from refrain.nn.kernels.packed_linear import PackedLinear, WeightType, float32_linear
from refrain.nn.recurrent.lstm.packed import LSTMGates
from refrain.nn.recurrent.lstm.state import LSTMState
from refrain.nn.recurrent.packed import as_float32


class PackedMultiplicativeLSTM:
    """A multiplicative LSTM; the arithmetic is that of `multiplicative_lstm_step`.

    Args:
        w_im: (M, I); copied, like the others.
        w_hm: (M, H).
        w_ih: (4H, I).
        w_mh: (4H, M).
        bias: (4H,).
        weights: dtype of the packed weights.
    """

    def __init__(
        self, w_im: Tensor, w_hm: Tensor, w_ih: Tensor, w_mh: Tensor, bias: Tensor, weights: WeightType
    ) -> None:
        self._sizes = w_im.shape[1], w_hm.shape[1]
        self._factor = PackedLinear(w_im.detach(), None, weights)
        self._inner = PackedLinear(w_hm.detach(), None, weights)
        self._gates = LSTMGates(w_ih, w_mh, bias, weights)

    def step(self, x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """One time step: x (B, I) -> output (B, H) and the next state."""
        x, state = as_float32(self._sizes, x, state)
        intermediate = self._factor.step(x).mul_(self._inner.step(state.hidden))  # (B, M)
        return self._gates(x, intermediate, state.cell)

    def window(self, inputs: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """inputs (T, B, I) -> outputs (T, B, H) and the state after the last step."""
        inputs, state = as_float32(self._sizes, inputs, state)
        steps, batch, _ = inputs.shape
        outputs = inputs.new_empty(steps, batch, state.hidden.shape[1])
        factors = float32_linear(inputs, self._factor.dense)
        for factor, projected, out in zip(factors, self._gates.project(inputs), outputs, strict=True):
            intermediate = self._inner(state.hidden).mul_(factor)
            _, state = self._gates.recur(projected, intermediate, state.cell, out)
        return outputs, state
