"""Multiplicative LSTM (Krause et al., 2016, Multiplicative LSTM for sequence modelling, arXiv 1609.07959).

The hidden state reaches the gates only through an intermediate state that the input has multiplied, so that each input
has a transition of its own. The output gate acts outside of the tanh, as in Radford et al. (2017, arXiv 1704.01444),
with weight norm on all four matrices there. Gates are packed in the order input, forget, candidate, output.

T steps in the window, B sequences, I input width, H hidden width, M intermediate width.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from refrain.axes import Axis, AxisTable
from refrain.nn.kernels.backend import PLAIN, kernels_for, scans
from refrain.nn.kernels.buffer_pool import BufferPool
from refrain.nn.kernels.workspace import Loan
from refrain.nn.recurrent.lstm.layer import LSTMState
from refrain.nn.recurrent.lstm.scan import linear, window_scan
from refrain.nn.recurrent.protocol import check_window, run_kernel
from refrain.nn.weight_transforms import match_gains, transform_axes

from .cpu import multiplicative_lstm_window


def multiplicative_lstm_step(
    x: Tensor, state: LSTMState, w_im: Tensor, w_hm: Tensor, w_ih: Tensor, w_mh: Tensor, bias: Tensor
) -> tuple[Tensor, LSTMState]:
    """One step, as in the paper. The reference that `MultiplicativeLSTM` is tested against.

    Args:
        x: (B, I).
        state: hidden and cell, each (B, H).
        w_im: (M, I), input to intermediate.
        w_hm: (M, H), hidden to intermediate.
        w_ih: (4H, I), input to gates.
        w_mh: (4H, M), intermediate to gates.
        bias: (4H,).

    Returns:
        The output (B, H), which is also the new hidden state, and the new state.
    """
    intermediate = (x @ w_im.T) * (state.hidden @ w_hm.T)  # (B, M)
    gates = x @ w_ih.T + intermediate @ w_mh.T + bias  # (B, 4H): input, forget, candidate, output
    i, f, g, o = gates.chunk(4, dim=-1)
    cell = f.sigmoid() * state.cell + i.sigmoid() * g.tanh()
    hidden = o.sigmoid() * cell.tanh()
    return hidden, LSTMState(hidden, cell)


class MultiplicativeLSTM(nn.Module):
    """A multiplicative LSTM layer that owns its weights and takes its state as an argument.

    Args:
        input_size: I.
        hidden_size: H.
        intermediate_size: M; H if not given.
        transforms: weight name -> what maps the stored weight to the one used for a window, for example
            `{"weight_hm": WeightNorm(H)}`. Names: weight_im (M, I), weight_hm (M, H), weight_ih (4H, I),
            weight_mh (4H, M).

    Attributes:
        engine: what a window is computed with while training.
        kernels: name of the file of kernels.

    Raises:
        ValueError: when a width is not positive, or a transform names no weight.
    """

    kernels = "multiplicative_lstm"
    inner_widths: tuple[str, ...] = ("intermediate",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        intermediate_size: int | None = None,
        transforms: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        inner = hidden_size if intermediate_size is None else intermediate_size
        if min(input_size, hidden_size, inner) < 1:
            raise ValueError(
                f"MultiplicativeLSTM widths must be positive, got {input_size=}, {hidden_size=}, {intermediate_size=}"
            )
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.intermediate_size = inner
        self.weight_im = nn.Parameter(torch.empty(inner, input_size))
        self.weight_hm = nn.Parameter(torch.empty(inner, hidden_size))
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.weight_mh = nn.Parameter(torch.empty(4 * hidden_size, inner))
        self.bias = nn.Parameter(torch.empty(4 * hidden_size))
        if unknown := set(transforms or {}) - {"weight_im", "weight_hm", "weight_ih", "weight_mh"}:
            raise ValueError(f"MultiplicativeLSTM has no weight {', '.join(sorted(unknown))}")
        self.transforms = nn.ModuleDict(transforms or {})
        self.engine = PLAIN
        self._pool = BufferPool()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw each matrix uniformly with variance 1 / columns and the bias from U(-1/sqrt(H), 1/sqrt(H)); in place.

        An LSTM's narrower weights would make the intermediate state, a product of two small numbers, so small that
        nothing recurs at first. Every weight norm starts at the norm of its weight.
        """
        for parameter in self.parameters(recurse=False):
            bound = math.sqrt(3 / parameter.shape[1]) if parameter.ndim == 2 else 1 / math.sqrt(self.hidden_size)
            nn.init.uniform_(parameter, -bound, bound)
        match_gains(self)

    def initial_state(self, batch_size: int) -> LSTMState:
        """Zeros: hidden and cell, each (B, H)."""
        zeros = self.weight_hm.new_zeros(batch_size, self.hidden_size)
        return LSTMState(zeros, zeros)

    def forward(self, inputs: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """inputs (T, B, I) -> outputs (T, B, H) and the state after the last step.

        Raises:
            ValueError: when a width or the batch does not fit.
        """
        check_window(self.input_size, self.hidden_size, inputs, state)
        weights = self._weights()
        if kernels_for(self, inputs, *state, *weights, self.bias):
            outputs, cell = run_kernel(
                multiplicative_lstm_window, self._pool, self.engine.bf16, inputs, *state, *weights, self.bias
            )
            return outputs, LSTMState(outputs[-1], cell)
        w_im, w_hm, w_ih, w_mh = weights
        engine = self.engine if scans(self, inputs, *state) else PLAIN
        projected, factors = linear(inputs, w_ih, self.bias, engine), linear(inputs, w_im, None, engine)
        outputs, cell = run_kernel(
            *(window_scan, MultiplicativeRecurrence, self._pool, engine),
            *(projected, state.hidden, state.cell, factors, w_hm, w_mh),
        )
        return outputs, LSTMState(outputs[-1], cell)

    def step(self, x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """One time step: x (B, I) -> output (B, H) and the next state."""
        check_window(self.input_size, self.hidden_size, x, state)
        return multiplicative_lstm_step(x, state, *self._weights(), self.bias)

    def axes(self, input_width: str, hidden_width: str, *, intermediate: str = "intermediate") -> AxisTable:
        """The axes of each parameter, under the names that the model chose for the three widths."""
        hidden = Axis(hidden_width, 4)
        inner = Axis(intermediate)
        table: AxisTable = {
            "weight_im": (inner, Axis(input_width, role="reads")),
            "weight_hm": (inner, Axis(hidden_width, role="reads")),
            "weight_ih": (hidden, Axis(input_width, role="reads")),
            "weight_mh": (hidden, inner._replace(role="reads")),
            "bias": (hidden._replace(role="shifts"),),
        }
        for name, transform in self.transforms.items():
            table |= transform_axes(f"transforms.{name}", transform, table[name][0])
        return table

    def _weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # once a window, so that all T steps share one transformed weight
        w_im, w_hm, w_ih, w_mh = (
            self.transforms[name](weight) if name in self.transforms else weight
            for name, weight in (
                ("weight_im", self.weight_im),
                ("weight_hm", self.weight_hm),
                ("weight_ih", self.weight_ih),
                ("weight_mh", self.weight_mh),
            )
        )
        return w_im, w_hm, w_ih, w_mh


class MultiplicativeRecurrence:
    """Hidden state -> intermediate state -> gates; see `Recurrence`.

    Args:
        tensors: factors (T, B, M), the input's part of the intermediate state; w_hm (M, H); w_mh (4H, M).
        loan: where memory is taken.
        steps: how many are remembered.
        kind: the type of the products.
    """

    def __init__(self, tensors: Sequence[Tensor], loan: Loan, *, steps: int, kind: torch.dtype) -> None:
        self.factors, self.w_hm, self.w_mh = (loan.rounded(tensor, kind) for tensor in tensors)
        shape = (steps, *self.factors.shape[1:])
        self.products, self.intermediate = loan.take(shape, kind), loan.take(shape, kind)
        self.d_products = loan.take(shape, kind)
        self._factors, self._products = self.factors.unbind(), self.products.unbind()
        self._intermediate = self.intermediate.unbind()
        self._transposed = self.w_hm.T, self.w_mh.T
        self._d_factors: Tensor | None = None

    def forward(self, step: int, hidden: Tensor, out: Tensor) -> None:
        """What comes of the hidden state, by the intermediate state of the step."""
        to_intermediate, to_gates = self._transposed
        slot = step % len(self._products)
        torch.mm(hidden, to_intermediate, out=self._products[slot])
        torch.mul(self._factors[step], self._products[slot], out=self._intermediate[slot])
        torch.mm(self._intermediate[slot], to_gates, out=out)

    def backward(self, step: int, d_gates: Tensor, out: Tensor) -> None:
        """The gradient of the hidden state before a step."""
        if self._d_factors is None:
            self._d_factors = torch.empty_like(self.factors)
            self._d_intermediate = torch.empty_like(self.factors[0])
        torch.mm(d_gates, self.w_mh, out=self._d_intermediate)
        torch.mul(self._d_intermediate, self._products[step], out=self._d_factors[step])
        d_product = torch.mul(self._d_intermediate, self._factors[step], out=self.d_products[step])
        torch.mm(d_product, self.w_hm, out=out)

    def gradients(self, d_gates: Tensor, hidden: Tensor) -> tuple[Tensor, ...]:
        """Of the factors and both weights, the latter as one product each."""
        assert self._d_factors is not None
        d_w_hm = self.d_products.flatten(0, 1).T @ hidden.flatten(0, 1)
        d_w_mh = d_gates.flatten(0, 1).T @ self.intermediate.flatten(0, 1)
        return self._d_factors, d_w_hm, d_w_mh
