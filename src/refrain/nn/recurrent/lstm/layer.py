"""Long short-term memory (Hochreiter & Schmidhuber, 1997; forget gate: Gers et al., 2000).

As used for language models by Zaremba et al. (2014, equations 4 to 8), without peepholes. One bias per layer, where
cuDNN's layout has two; gates are packed in the order input, forget, candidate, output.

T steps in the window, B batch, I input width, H hidden width.
"""

import functools
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from refrain.axes import AxisTable
from refrain.nn.given_module import WEIGHT_DROPOUT, module_or_identity, transformed
from refrain.nn.kernels.backend import TORCH, NativeFrom
from refrain.nn.kernels.packed_linear import WeightType
from refrain.nn.kernels.workspace import BufferPool
from refrain.nn.recurrent.gated import add_second_bias, draw_uniform, gated_axes, gated_parameters, in_one_buffer
from refrain.nn.recurrent.given import drop_held_masks, is_plain, with_any_state
from refrain.nn.recurrent.protocol import Context, check_window, choose_window
from refrain.nn.step_graph.builder import GraphBuilder, Value

from .cpu import native_window
from .packed import PackedLSTM
from .scan import scan_window
from .state import LSTMState


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
    return lstm_cell(gates.chunk(4, dim=-1), state.cell)


def lstm_cell(gates: Sequence[Tensor], cell: Tensor) -> tuple[Tensor, LSTMState]:
    """The part of a step that all LSTMs share.

    Args:
        gates: input, forget, candidate and output before their activations, each (B, H).
        cell: (B, H), before the step.

    Returns:
        The output (B, H), which is also the new hidden state, and the new state.
    """
    i, f, g, o = gates
    cell = next_cell(i, f, g, cell)
    hidden = lstm_output(o, cell)
    return hidden, LSTMState(hidden, cell)


def next_cell(i: Tensor, f: Tensor, g: Tensor, cell: Tensor) -> Tensor:
    """The cell after a step, from the gates before their activations; each (B, H)."""
    return f.sigmoid() * cell + i.sigmoid() * g.tanh()


def lstm_output(o: Tensor, cell: Tensor) -> Tensor:
    """The output of a step, from the output gate before its activation and the cell after the step; each (B, H)."""
    return o.sigmoid() * cell.tanh()


def torch_window(
    context: Context, inputs: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A window by torch's own kernel; see `Window`. Weights: w_ih (4H, I), w_hh (4H, H), bias (4H,)."""
    dtype = _autocast_dtype(inputs)
    if dtype is not None and not _autocast_is_supported(dtype):
        with torch.autocast("cpu", enabled=False):
            tensors = [[part.float() for part in group] for group in ([inputs], state, weights)]
            outputs, after = torch_window(context, tensors[0][0], tensors[1], tensors[2])
        return outputs.to(dtype), tuple(part.to(dtype) for part in after)
    packed = [*weights, torch.zeros_like(weights[2])]
    if inputs.is_cuda:
        packed = in_one_buffer(packed)
    start = [part[None] for part in state]
    outputs, hidden, cell = torch.lstm(inputs, start, packed, True, 1, 0.0, context.training, False, False)
    return outputs, (hidden[0], cell[0])


def _autocast_dtype(inputs: Tensor) -> torch.dtype | None:
    """The dtype of an enabled torch.autocast on the CPU, else None."""
    on_cpu = inputs.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    return torch.get_autocast_dtype("cpu") if on_cpu else None


@functools.cache
def _autocast_is_supported(dtype: torch.dtype) -> bool:
    """Whether torch.lstm works under autocast; on processors for which oneDNN has no kernel of a dtype, it raises."""
    one = torch.zeros(1, 1, 1)
    weights = [torch.zeros(4, 1), torch.zeros(4, 1), torch.zeros(4), torch.zeros(4)]
    try:
        with torch.autocast("cpu", dtype=dtype):
            torch.lstm(one, [one, one], weights, True, 1, 0.0, False, False, False)
    except RuntimeError:
        return False
    return True


class LSTM(nn.Module):
    """An LSTM layer that owns its weights and takes its state as an argument.

    Args:
        input_size: I.
        hidden_size: H.
        input_transform: maps the (4H, I) input weight to the one used for this window.
        recurrent_transform: maps the (4H, H) recurrent weight to the one used for this window, for example
            `WeightDropout(0.5)`. The stored weight, and its name in a checkpoint, stay as they are.

    Attributes:
        backend: what the layer trains with.

    Raises:
        ValueError: when a width is not positive, or a transform is no module.
    """

    gates = 4
    kernels = "lstm"
    backends = {"torch": torch_window, "native": native_window, "scan": scan_window}  # noqa: RUF012
    # in float32, torch's own kernel is as fast as long as the recurrent weight fits into the caches
    native_from = NativeFrom(cpu_float32=800, cpu_bf16=64, cuda_bf16=1)
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
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.weight_ih, self.weight_hh, self.bias = gated_parameters("LSTM", self.gates, input_size, hidden_size)
        self.input_transform = module_or_identity("input_transform", input_transform, WEIGHT_DROPOUT)
        self.recurrent_transform = module_or_identity("recurrent_transform", recurrent_transform, WEIGHT_DROPOUT)
        self.backend = TORCH
        self._pool = BufferPool()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights from U(-1/sqrt(H), 1/sqrt(H)), as torch's own LSTM does. Changes them in place.

        Every weight norm starts at the norm of its weight.
        """
        draw_uniform(self, self.hidden_size)

    def add_second_bias(self) -> None:
        """Draw the bias as the sum of two, as torch's own LSTM has them. Call once after `reset_parameters`."""
        add_second_bias(self, self.hidden_size, gates=4)

    @property
    def transforms(self) -> dict[str, nn.Module]:
        """Weight name -> its transform."""
        return {"weight_ih": self.input_transform, "weight_hh": self.recurrent_transform}

    @property
    def native_size(self) -> int:
        """H, the size that `native_from` refers to."""
        return self.hidden_size

    def initial_state(self, batch_size: int) -> LSTMState:
        """Zeros: hidden and cell, each (B, H)."""
        zeros = self.weight_hh.new_zeros(batch_size, self.hidden_size)
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
        """One time step: x (B, I) -> output (B, H) and the next state.

        For generation: the library kernel behind `forward` repacks the weights on every call, which for a single
        step costs several times the step itself.
        """
        if not is_plain(x, state, LSTMState, 2):
            return with_any_state(self.step, self.initial_state, x, state, 2)
        state = cast(LSTMState, state)
        check_window(self.input_size, self.hidden_size, x, state)
        return lstm_step(x, state, *self.window_weights())

    def window_weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """Input weight, recurrent weight and bias, transformed once for all steps of a window."""
        w_ih = transformed("input_transform", self.input_transform, self.weight_ih)
        w_hh = transformed("recurrent_transform", self.recurrent_transform, self.weight_hh)
        return w_ih, w_hh, self.bias

    def describe(self, build: GraphBuilder, x: Value, state: Any) -> tuple[Value, Any]:
        """The step as operations; see `Describable`."""
        names = ("weight_ih", "weight_hh", "bias")
        weights = dict(zip(names, self.window_weights(), strict=True))
        return build.cell("LSTM", lstm_step, x, state, weights)

    def packed(self, weights: WeightType) -> PackedLSTM:
        """The layer for inference; see `Packable`."""
        return PackedLSTM(self.weight_ih, self.weight_hh, self.bias, weights)

    def axes(self, input_width: str, hidden_width: str) -> AxisTable:
        """The axes of each parameter, under the width names that the model chose."""
        transforms = {"input_transform": self.input_transform, "recurrent_transform": self.recurrent_transform}
        return gated_axes(self.gates, input_width, hidden_width, **transforms)

    def extra_repr(self) -> str:
        """The widths, for print."""
        return f"{self.input_size}, {self.hidden_size}"

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        drop_held_masks(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *rest)
