"""Multiplicative LSTM (Krause et al., 2016, Multiplicative LSTM for sequence modelling, arXiv 1609.07959).

The hidden state reaches the gates only through an intermediate state that the input has multiplied, so that each input
has a transition of its own. The output gate acts outside of the tanh, as in Radford et al. (2017, arXiv 1704.01444),
with weight norm on all four matrices there. Gates are packed in the order input, forget, candidate, output.

T steps in the window, B batch, I input width, H hidden width, M intermediate width.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from refrain.arguments import described
from refrain.axes import Axis, AxisTable
from refrain.nn.given_module import WEIGHT_DROPOUT, check_module, transformed
from refrain.nn.kernels.backend import TORCH, NativeFrom
from refrain.nn.kernels.packed_linear import WeightType
from refrain.nn.kernels.workspace import BufferPool
from refrain.nn.recurrent.gated import add_second_bias
from refrain.nn.recurrent.given import drop_held_masks, is_plain, with_any_state
from refrain.nn.recurrent.lstm.layer import lstm_cell
from refrain.nn.recurrent.lstm.state import LSTMState
from refrain.nn.recurrent.protocol import Context, check_window, choose_window, scan
from refrain.nn.step_graph.builder import GraphBuilder, Value
from refrain.nn.weight_transforms import match_gains, transform_axes

from .cpu import native_window
from .packed import PackedMultiplicativeLSTM
from .scan import scan_window


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
    return lstm_cell(gates.chunk(4, dim=-1), state.cell)


def torch_window(
    context: Context, inputs: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A window by torch's operations; see `Window`. Torch has no kernel for this cell, so the steps are a scan.

    Weights: w_im (M, I), w_hm (M, H), w_ih (4H, I), w_mh (4H, M), bias (4H,).
    """
    if torch.compiler.is_exporting() or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        # an exported program holds the equations, step by step

        def step(x: Tensor, before: LSTMState) -> tuple[Tensor, LSTMState]:
            return multiplicative_lstm_step(x, before, *weights)

        outputs, after = scan(step, inputs, LSTMState(*state))
        return outputs, tuple(after)
    return scan_window(context._replace(backend=TORCH), inputs, state, weights)


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
        backend: what the layer trains with.

    Raises:
        ValueError: when a width is not positive, or a transform names no weight or is no module.
    """

    kernels = "multiplicative_lstm"
    backends = {"torch": torch_window, "native": native_window, "scan": scan_window}  # noqa: RUF012
    # cuDNN has no such cell
    native_from = NativeFrom(cpu_float32=64, cpu_bf16=64, cuda_float32=1, cuda_bf16=1)
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
        if transforms is not None and not isinstance(transforms, Mapping):
            raise ValueError(f"transforms must map names of weights to modules (got {described(transforms)})")
        if unknown := set(transforms or {}) - {"weight_im", "weight_hm", "weight_ih", "weight_mh"}:
            raise ValueError(f"MultiplicativeLSTM has no weight {', '.join(sorted(unknown))}")
        for name, transform in (transforms or {}).items():
            check_module(f"transforms[{name!r}]", transform, WEIGHT_DROPOUT)
        self.transforms = nn.ModuleDict(transforms or {})
        self.backend = TORCH
        self._pool = BufferPool()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw each matrix uniformly with variance 1 / columns and the bias from U(-1/sqrt(H), 1/sqrt(H)); in place.

        With the smaller weights of an LSTM, the intermediate state, a product of two small numbers, would be so small
        that at first nothing recurs. Every weight norm starts at the norm of its weight.
        """
        for parameter in self.parameters(recurse=False):
            bound = math.sqrt(3 / parameter.shape[1]) if parameter.ndim == 2 else 1 / math.sqrt(self.hidden_size)
            nn.init.uniform_(parameter, -bound, bound)
        match_gains(self)

    def add_second_bias(self) -> None:
        """Draw the bias as the sum of two, as torch's LSTM has them. Call once after `reset_parameters`."""
        add_second_bias(self, self.hidden_size, gates=4)

    @property
    def native_size(self) -> int:
        """H, the size that `native_from` refers to."""
        return self.hidden_size

    def initial_state(self, batch_size: int) -> LSTMState:
        """Zeros: hidden and cell, each (B, H)."""
        zeros = self.weight_hm.new_zeros(batch_size, self.hidden_size)
        return LSTMState(zeros, zeros.clone())

    def forward(self, inputs: Tensor, state: LSTMState | Sequence[Tensor] | None = None) -> tuple[Tensor, LSTMState]:
        """inputs (T, B, I) -> outputs (T, B, H) and the state after the last step.

        Without a state, the window starts from zeros. Inputs (T, I) are one sequence without a batch.

        Raises:
            ValueError: when a width or the batch does not fit.
        """
        if not is_plain(inputs, state, LSTMState, 3):
            return with_any_state(self.forward, self.initial_state, inputs, state, 3)
        state = cast(LSTMState, state)
        check_window(self.input_size, self.hidden_size, inputs, state)
        weights = self.window_weights()
        window = choose_window(self, inputs, *state, *weights)
        context = Context(self._pool, self.backend, self.training)
        outputs, after = window(context, inputs, state, weights)
        return outputs, LSTMState(*after)

    def step(self, x: Tensor, state: LSTMState | Sequence[Tensor] | None = None) -> tuple[Tensor, LSTMState]:
        """One time step: x (B, I) -> output (B, H) and the next state."""
        if not is_plain(x, state, LSTMState, 2):
            return with_any_state(self.step, self.initial_state, x, state, 2)
        state = cast(LSTMState, state)
        check_window(self.input_size, self.hidden_size, x, state)
        return multiplicative_lstm_step(x, state, *self.window_weights())

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

    def window_weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """w_im, w_hm, w_ih, w_mh and bias, transformed once for all steps of a window."""
        w_im = self._transformed("weight_im")
        w_hm = self._transformed("weight_hm")
        w_ih = self._transformed("weight_ih")
        w_mh = self._transformed("weight_mh")
        return w_im, w_hm, w_ih, w_mh, self.bias

    def describe(self, build: GraphBuilder, x: Value, state: Any) -> tuple[Value, Any]:
        """The step as operations; see `Describable`."""
        names = ("weight_im", "weight_hm", "weight_ih", "weight_mh", "bias")
        weights = dict(zip(names, self.window_weights(), strict=True))
        return build.cell("MultiplicativeLSTM", multiplicative_lstm_step, x, state, weights)

    def packed(self, weights: WeightType) -> PackedMultiplicativeLSTM:
        """The layer for inference; see `Packable`."""
        matrices = (self.weight_im, self.weight_hm, self.weight_ih, self.weight_mh)
        return PackedMultiplicativeLSTM(*matrices, self.bias, weights)

    def _transformed(self, name: str) -> Tensor:
        weight: Tensor = getattr(self, name)
        return (
            transformed(f"transforms[{name!r}]", self.transforms[name], weight) if name in self.transforms else weight
        )

    def extra_repr(self) -> str:
        """The widths, for print."""
        inner = "" if self.intermediate_size == self.hidden_size else f", intermediate_size={self.intermediate_size}"
        return f"{self.input_size}, {self.hidden_size}{inner}"

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        drop_held_masks(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *rest)
