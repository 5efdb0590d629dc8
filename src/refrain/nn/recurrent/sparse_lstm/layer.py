"""A layer of small LSTMs side by side, each on a part of the input: predefined sparseness.

Demeester et al. (2018), Predefined Sparseness in Recurrent Sequence Models, arXiv 1808.08720, section 2.1. The paper's
code runs the small LSTMs one after another; native kernels advance them together, in one loop over the steps.

T steps in the window, B batch, I input width, H hidden width, k blocks of at most h units.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refrain.axes import AxisTable, Segment
from refrain.nn.kernels.backend import TORCH, NativeFrom
from refrain.nn.kernels.packed_linear import WeightType
from refrain.nn.kernels.workspace import BufferPool
from refrain.nn.recurrent.given import is_plain, with_any_state
from refrain.nn.recurrent.lstm.layer import LSTM, lstm_cell
from refrain.nn.recurrent.lstm.layer import torch_window as lstm_window
from refrain.nn.recurrent.lstm.state import LSTMState
from refrain.nn.recurrent.protocol import Context, check_window, choose_window
from refrain.nn.segments import SparsePlan
from refrain.nn.step_graph.builder import GraphBuilder, Value

from .cpu import native_window
from .packed import PackedSparseLSTM
from .scan import scan_window


def torch_window(
    context: Context, inputs: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A window, one block after another; see `Window`. Weights: w_ih, w_hh and bias of each block in turn."""
    units = [block.units for block in context.blocks]
    states = zip(*(part.split(units, -1) for part in state), strict=True)
    parts = []
    for index, (block, before) in enumerate(zip(context.blocks, states, strict=True)):
        own = weights[3 * index : 3 * index + 3]
        start = [part.contiguous() for part in before]
        parts.append(lstm_window(context, inputs[..., block.begin : block.end], start, own))
    outputs, after = zip(*parts, strict=True)
    return torch.cat(outputs, -1), tuple(torch.cat(tensors, -1) for tensors in zip(*after, strict=True))


class SparseLSTM(nn.Module):
    """k LSTMs, each of which owns a part of the units and sees a part of the inputs; outputs are concatenated.

    Args:
        plan: the inputs and units of each block, as from `plan_blocks` or `plan_reduction`.
        block: makes the LSTM of a block from its widths, for example with a recurrent transform.

    Attributes:
        backend: what the layer trains with; with torch the blocks run one after another.

    Raises:
        ValueError: when `block` makes another layer or other widths.
    """

    kernels = "lstm"
    backends = {"torch": torch_window, "native": native_window, "scan": scan_window}  # noqa: RUF012
    # counted in units of a block; see `LSTM`
    native_from = NativeFrom(cpu_float32=800, cpu_bf16=64, cuda_bf16=1)
    inner_widths: tuple[str, ...] = ()

    def __init__(self, plan: SparsePlan, *, block: Callable[[int, int], LSTM] = LSTM) -> None:
        super().__init__()
        self.plan = plan
        self.input_size = plan.input_size
        self.hidden_size = plan.hidden_size
        self.blocks = nn.ModuleList([_made(block, part.end - part.begin, part.units) for part in plan.blocks])
        self._units = [part.units for part in plan.blocks]
        self.backend = TORCH
        self._pool = BufferPool()

    def reset_parameters(self) -> None:
        """Draw the weights of each block as `LSTM` does, from its own width. Changes them in place."""
        for lstm in self._lstms():
            lstm.reset_parameters()

    @property
    def transforms(self) -> dict[str, nn.Module]:
        """Empty: the transforms are those of the blocks."""
        return {}

    @property
    def native_size(self) -> int:
        """The mean number of units of a block, to which `native_from` refers."""
        return self.hidden_size // len(self.blocks)

    def initial_state(self, batch_size: int) -> LSTMState:
        """Zeros: hidden and cell, each (B, H)."""
        zeros = self._lstms()[0].weight_hh.new_zeros(batch_size, self.hidden_size)
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
        context = Context(self._pool, self.backend, self.training, self.plan.blocks)
        outputs, after = window(context, inputs, state, weights)
        return outputs, LSTMState(*after)

    def step(self, x: Tensor, state: LSTMState | Sequence[Tensor] | None = None) -> tuple[Tensor, LSTMState]:
        """One time step: x (B, I) -> output (B, H) and the next state."""
        if not is_plain(x, state, LSTMState, 2):
            return with_any_state(self.step, self.initial_state, x, state, 2)
        state = cast(LSTMState, state)
        check_window(self.input_size, self.hidden_size, x, state)
        weights = self.window_weights()
        gates = []
        for index, (block, hidden) in enumerate(
            zip(self.plan.blocks, state.hidden.split(self._units, -1), strict=True)
        ):
            w_ih, w_hh, bias = weights[3 * index : 3 * index + 3]
            own = F.linear(x[..., block.begin : block.end], w_ih, bias)
            gates.append(torch.addmm(own, hidden, w_hh.T).unflatten(-1, (4, -1)))
        return lstm_cell(torch.cat(gates, -1).unbind(-2), state.cell)

    def window_weights(self) -> tuple[Tensor, ...]:
        """Input weight, recurrent weight and bias of each block in turn, transformed once for all steps of a window."""
        return tuple(weight for lstm in self._lstms() for weight in lstm.window_weights())

    def describe(self, build: GraphBuilder, x: Value, state: Any) -> tuple[Value, Any]:
        """The step as operations, block by block; see `Describable`."""
        states = zip(*(part.split(self._units) for part in state), strict=True)
        found = []
        for index, (lstm, block, own) in enumerate(zip(self._lstms(), self.plan.blocks, states, strict=True)):
            with build.part(f"blocks.{index}"):
                found.append(lstm.describe(build, x.part(block.begin, block.end), type(state)(*own)))
        outputs, after = zip(*found, strict=True)
        return build.concat(outputs), type(state)(*(build.concat(parts) for parts in zip(*after, strict=True)))

    def packed(self, weights: WeightType) -> PackedSparseLSTM:
        """The layer for inference; see `Packable`."""
        return PackedSparseLSTM(self.plan, [lstm.packed(weights) for lstm in self._lstms()])

    def axes(self, input_width: str, hidden_width: str) -> AxisTable:
        """The axes of each block's parameters, which run along parts of the layer's widths."""
        table: AxisTable = {}
        owned = pairwise(accumulate(self._units, initial=0))
        for index, (lstm, block, (first, last)) in enumerate(zip(self._lstms(), self.plan.blocks, owned, strict=True)):
            seen = Segment(block.begin, block.end, self.input_size)
            own = Segment(first, last, self.hidden_size)
            # the input gets a name of its own first, as both widths may have the same
            for name, axes in lstm.axes("input", hidden_width).items():
                table[f"blocks.{index}.{name}"] = tuple(
                    axis._replace(width=input_width, segment=seen)
                    if axis.width == "input"
                    else axis._replace(segment=own)
                    for axis in axes
                )
        return table

    def extra_repr(self) -> str:
        """The plan, for print."""
        return str(self.plan)

    def _lstms(self) -> list[Any]:
        return list(self.blocks)


def _made(block: Callable[[int, int], LSTM], inputs: int, units: int) -> LSTM:
    lstm = block(inputs, units)
    if not isinstance(lstm, LSTM):
        raise ValueError(f"block: must make an LSTM (got {type(lstm).__name__})")
    if (lstm.input_size, lstm.hidden_size) != (inputs, units):
        raise ValueError(
            f"block: must make an LSTM from {inputs} inputs to {units} units (got {lstm.input_size} and "
            f"{lstm.hidden_size})"
        )
    return lstm
