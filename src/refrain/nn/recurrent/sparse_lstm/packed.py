"""A sparse LSTM for inference, with its weights packed.

T steps in the window, B batch, I input width, H hidden width.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from refrain.nn.recurrent.lstm.packed import PackedLSTM
from refrain.nn.recurrent.lstm.state import LSTMState
from refrain.nn.recurrent.packed import as_float32
from refrain.nn.segments import SparsePlan


class PackedSparseLSTM:
    """A packed LSTM for each block, one after another: a step takes no longer than to read their weights.

    Args:
        plan: of the layer.
        blocks: the LSTM of each block.
    """

    def __init__(self, plan: SparsePlan, blocks: Sequence[PackedLSTM]) -> None:
        self._sizes = plan.input_size, plan.hidden_size
        self._seen = [slice(block.begin, block.end) for block in plan.blocks]
        self._units = [block.units for block in plan.blocks]
        self._blocks = blocks

    def step(self, x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """One time step: x (B, I) -> output (B, H) and the next state."""
        x, state = as_float32(self._sizes, x, state)
        return _joined([block.step(x[:, seen], before) for block, seen, before in self._parts(state)])

    def window(self, inputs: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """inputs (T, B, I) -> outputs (T, B, H) and the state after the last step."""
        inputs, state = as_float32(self._sizes, inputs, state)
        return _joined([block.window(inputs[..., seen], before) for block, seen, before in self._parts(state)])

    def _parts(self, state: LSTMState) -> Iterator[tuple[PackedLSTM, slice, LSTMState]]:
        states = map(LSTMState, state.hidden.split(self._units, 1), state.cell.split(self._units, 1))
        return zip(self._blocks, self._seen, states, strict=True)


def _joined(parts: Sequence[tuple[Tensor, LSTMState]]) -> tuple[Tensor, LSTMState]:
    outputs, states = zip(*parts, strict=True)
    return torch.cat(outputs, -1), LSTMState(*(torch.cat(tensors, 1) for tensors in zip(*states, strict=True)))
