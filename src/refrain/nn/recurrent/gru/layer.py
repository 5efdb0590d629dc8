"""Gated recurrent unit (Cho et al., 2014), with the reset gate after the matmul, as cuDNN and torch compute it.

One bias per layer, on the input side, where cuDNN's layout has two. The second one matters for the candidate alone,
where the reset gate multiplies it, and is an option. Gates are packed in the order reset, update, candidate.

T steps in the window, B batch, I input width, H hidden width.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from refrain.axes import Axis, AxisTable
from refrain.nn.given_module import WEIGHT_DROPOUT, module_or_identity, transformed
from refrain.nn.kernels.backend import TORCH, NativeFrom
from refrain.nn.kernels.packed_linear import WeightType
from refrain.nn.kernels.workspace import BufferPool
from refrain.nn.recurrent.gated import add_second_bias, draw_uniform, gated_axes, gated_parameters, in_one_buffer
from refrain.nn.recurrent.given import drop_held_masks, is_plain, with_any_state
from refrain.nn.recurrent.protocol import Context, check_window, choose_window
from refrain.nn.step_graph.builder import GraphBuilder, Value

from .biases import recurrent_bias
from .cpu import native_window
from .packed import PackedGRU
from .scan import scan_window
from .state import GRUState


def gru_step(
    x: Tensor, state: GRUState, w_ih: Tensor, w_hh: Tensor, bias: Tensor, bias_hn: Tensor | None = None
) -> tuple[Tensor, GRUState]:
    """One step. The reference that `GRU` is tested against.

    Args:
        x: (B, I).
        state: hidden (B, H).
        w_ih: (3H, I).
        w_hh: (3H, H).
        bias: (3H,).
        bias_hn: (H,), the bias of the candidate's recurrent part; None is zero.

    Returns:
        The output (B, H), which is also the new hidden state, and the new state.
    """
    reset_x, update_x, candidate_x = (x @ w_ih.T + bias).chunk(3, dim=-1)
    reset_h, update_h, candidate_h = (state.hidden @ w_hh.T).chunk(3, dim=-1)
    if bias_hn is not None:
        candidate_h = candidate_h + bias_hn
    reset = (reset_x + reset_h).sigmoid()
    update = (update_x + update_h).sigmoid()
    candidate = (candidate_x + reset * candidate_h).tanh()
    hidden = (1 - update) * candidate + update * state.hidden
    return hidden, GRUState(hidden)


def torch_window(
    context: Context, inputs: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A window by torch's own kernel; see `Window`. Weights: those of `gru_step`."""
    w_ih, w_hh, bias, *second = weights
    packed = [w_ih, w_hh, bias, recurrent_bias(bias, *second)]
    if inputs.is_cuda:
        packed = in_one_buffer(packed)
    outputs, hidden = torch.gru(inputs, state[0][None], packed, True, 1, 0.0, context.training, False, False)
    return outputs, (hidden[0],)


class GRU(nn.Module):
    """A GRU layer that owns its weights and takes its state as an argument.

    Args:
        input_size: I.
        hidden_size: H.
        input_transform: maps the (3H, I) input weight to the one used for this window.
        recurrent_transform: maps the (3H, H) recurrent weight to the one used for this window.
        recurrent_bias: whether the recurrent part of the candidate has a bias, `bias_hn` (H,), which the reset gate
            multiplies, as in `torch.nn.GRU`.

    Attributes:
        backend: what the layer trains with.

    Raises:
        ValueError: when a width is not positive, or a transform is no module.
    """

    gates = 3
    kernels = "gru"
    backends = {"torch": torch_window, "native": native_window, "scan": scan_window}  # noqa: RUF012
    native_from = NativeFrom(cpu_float32=64, cpu_bf16=64, cuda_bf16=1)
    inner_widths: tuple[str, ...] = ()

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        input_transform: nn.Module | None = None,
        recurrent_transform: nn.Module | None = None,
        recurrent_bias: bool = False,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.weight_ih, self.weight_hh, self.bias = gated_parameters("GRU", self.gates, input_size, hidden_size)
        self.bias_hn = nn.Parameter(torch.empty(hidden_size)) if recurrent_bias else None
        self.input_transform = module_or_identity("input_transform", input_transform, WEIGHT_DROPOUT)
        self.recurrent_transform = module_or_identity("recurrent_transform", recurrent_transform, WEIGHT_DROPOUT)
        self.backend = TORCH
        self._pool = BufferPool()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights from U(-1/sqrt(H), 1/sqrt(H)), as torch's own GRU does. Changes them in place.

        Every weight norm starts at the norm of its weight.
        """
        draw_uniform(self, self.hidden_size)

    def add_second_bias(self) -> None:
        """Draw the bias of both gates as the sum of two, as torch's own GRU has them. Call after `reset_parameters`.

        The second bias of torch's candidate is multiplied by the reset gate, so it is not part of a sum; it is
        `bias_hn`, where the layer has it.
        """
        add_second_bias(self, self.hidden_size, gates=2)

    @property
    def transforms(self) -> dict[str, nn.Module]:
        """Weight name -> its transform."""
        return {"weight_ih": self.input_transform, "weight_hh": self.recurrent_transform}

    @property
    def native_size(self) -> int:
        """H, the size that `native_from` refers to."""
        return self.hidden_size

    def initial_state(self, batch_size: int) -> GRUState:
        """Zeros: hidden (B, H)."""
        return GRUState(self.weight_hh.new_zeros(batch_size, self.hidden_size))

    def forward(
        self, inputs: Tensor, state: GRUState | Sequence[Tensor] | Tensor | None = None
    ) -> tuple[Tensor, GRUState]:
        """inputs (T, B, I) -> outputs (T, B, H) and the state after the last step.

        Without a state, the window starts from zeros. Inputs (T, I) are one sequence without a batch.

        Raises:
            ValueError: when a width or the batch does not fit.
        """
        if not is_plain(inputs, state, GRUState, 3):
            return with_any_state(self.forward, self.initial_state, inputs, state, 3)
        state = cast(GRUState, state)
        check_window(self.input_size, self.hidden_size, inputs, state)
        weights = self.window_weights()
        window = choose_window(self, inputs, *state, *weights)
        context = Context(self._pool, self.backend, self.training)
        outputs, after = window(context, inputs, state, weights)
        return outputs, GRUState(*after)

    def step(self, x: Tensor, state: GRUState | Sequence[Tensor] | Tensor | None = None) -> tuple[Tensor, GRUState]:
        """One time step: x (B, I) -> output (B, H) and the next state."""
        if not is_plain(x, state, GRUState, 2):
            return with_any_state(self.step, self.initial_state, x, state, 2)
        state = cast(GRUState, state)
        check_window(self.input_size, self.hidden_size, x, state)
        return gru_step(x, state, *self.window_weights())

    def window_weights(self) -> tuple[Tensor, ...]:
        """Input weight, recurrent weight, bias and, where there is one, `bias_hn`: transformed once for a window."""
        w_ih = transformed("input_transform", self.input_transform, self.weight_ih)
        w_hh = transformed("recurrent_transform", self.recurrent_transform, self.weight_hh)
        return (w_ih, w_hh, self.bias) if self.bias_hn is None else (w_ih, w_hh, self.bias, self.bias_hn)

    def describe(self, build: GraphBuilder, x: Value, state: Any) -> tuple[Value, Any]:
        """The step as operations; see `Describable`."""
        names = ("weight_ih", "weight_hh", "bias", "bias_hn")
        weights = dict(zip(names, self.window_weights(), strict=False))
        return build.cell("GRU", gru_step, x, state, weights)

    def packed(self, weights: WeightType) -> PackedGRU:
        """The layer for inference; see `Packable`."""
        return PackedGRU(self.weight_ih, self.weight_hh, self.bias, weights, bias_hn=self.bias_hn)

    def axes(self, input_width: str, hidden_width: str) -> AxisTable:
        """The axes of each parameter, under the width names that the model chose."""
        transforms = {"input_transform": self.input_transform, "recurrent_transform": self.recurrent_transform}
        table = gated_axes(self.gates, input_width, hidden_width, **transforms)
        return table if self.bias_hn is None else table | {"bias_hn": (Axis(hidden_width, role="shifts"),)}

    def extra_repr(self) -> str:
        """The widths, for print."""
        return f"{self.input_size}, {self.hidden_size}{'' if self.bias_hn is None else ', recurrent_bias=True'}"

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        drop_held_masks(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *rest)
