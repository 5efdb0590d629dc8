"""Recurrent layers with their weights made ready: a step in one pass over them, and windows without repacking.

One kernel forms the gates of a unit and applies them. The layers' own steps are the reference.

T steps in the window, B sequences, I input width, H hidden width, G gates.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refrain.nn.dropout import HeldMask
from refrain.nn.kernels.packed_linear import FEW_STREAMS, PreparedLinear, WeightType, kernels, prepare_matrices
from refrain.nn.recurrent.gru.layer import GRU, GRUState
from refrain.nn.recurrent.lstm.layer import LSTM, LSTMState
from refrain.nn.recurrent.lstm.packed import LSTMGates, by_unit
from refrain.nn.recurrent.multiplicative_lstm.layer import MultiplicativeLSTM
from refrain.nn.recurrent.sparse_lstm.layer import SparseLSTM
from refrain.nn.weight_transforms import WeightDropout

from .protocol import check_window


class PreparedLayer(Protocol):
    """What a prepared layer does; states are those of the layer itself."""

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One time step: x (B, I) -> output (B, H) and the next state."""
        ...

    def window(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        """inputs (T, B, I) -> outputs (T, B, H) and the state after the last step."""
        ...


def prepare_layer(layer: Any, weights: WeightType) -> PreparedLayer:
    """A layer made ready, or its own step and window where there are no kernels for its kind.

    Args:
        layer: in evaluation mode, with its weight norms folded; it must not change afterwards.
        weights: what the matrices become.
    """
    if type(layer) not in (LSTM, GRU, MultiplicativeLSTM, SparseLSTM) or _transforms_act(layer):
        return LayerItself(layer)
    parameter = next(layer.parameters())
    if kernels() is not None and parameter.dtype == torch.float32 and parameter.device.type == "cpu":
        if type(layer) is LSTM:
            return PreparedLSTM(layer, weights)
        if type(layer) is GRU:
            return PreparedGRU(layer, weights)
        if type(layer) is MultiplicativeLSTM:
            return PreparedMultiplicativeLSTM(layer, weights)
        if type(layer) is SparseLSTM:
            return PreparedSparseLSTM(layer, weights)
    return LayerItself(layer)


def _transforms_act(layer: Any) -> bool:
    """Whether a layer's weights are transformed in evaluation too, which a transform of one's own may do."""
    inert = (nn.Identity, nn.Sequential, nn.Dropout, WeightDropout, HeldMask)
    transforms = [each for part in layer.modules() for each in getattr(part, "transforms", {}).values()]
    return any(not isinstance(part, inert) for transform in transforms for part in transform.modules())


class LayerItself:
    """A layer's own step and window.

    Args:
        layer: in evaluation mode.
    """

    def __init__(self, layer: Any) -> None:
        self.step, self.window = layer.step, layer


class PreparedLSTM:
    """An LSTM; the arithmetic is `lstm_step`'s.

    Args:
        layer: whose weights are copied.
        weights: what the matrices become.
    """

    def __init__(self, layer: LSTM, weights: WeightType) -> None:
        self._sizes = layer.input_size, layer.hidden_size
        self._gates = LSTMGates(layer.weight_ih, layer.weight_hh, layer.bias, weights)

    def step(self, x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """One time step: x (B, I) -> output (B, H) and the next state."""
        x, state = _ready(self._sizes, x, state)
        return self._gates(x, state.hidden, state.cell)

    def window(self, inputs: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """inputs (T, B, I) -> outputs (T, B, H) and the state after the last step."""
        inputs, state = _ready(self._sizes, inputs, state)
        return self._gates.window(inputs, state)


class PreparedSparseLSTM:
    """An LSTM for each block, one after another: no step needs more than to read their weights.

    Args:
        layer: whose weights are copied.
        weights: what the matrices become.
    """

    def __init__(self, layer: SparseLSTM, weights: WeightType) -> None:
        self._sizes = layer.input_size, layer.hidden_size
        self._seen = [slice(block.begin, block.end) for block in layer.plan.blocks]
        self._units = [block.units for block in layer.plan.blocks]
        lstms: list[Any] = list(layer.blocks)
        self._blocks = [PreparedLSTM(lstm, weights) for lstm in lstms]

    def step(self, x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """One time step: x (B, I) -> output (B, H) and the next state."""
        x, state = _ready(self._sizes, x, state)
        parts = [block.step(x[:, seen], before) for block, seen, before in self._own(state)]
        return self._joined(parts)

    def window(self, inputs: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """inputs (T, B, I) -> outputs (T, B, H) and the state after the last step."""
        inputs, state = _ready(self._sizes, inputs, state)
        parts = [block.window(inputs[..., seen], before) for block, seen, before in self._own(state)]
        return self._joined(parts)

    def _own(self, state: LSTMState) -> Iterator[tuple[PreparedLSTM, slice, LSTMState]]:
        owned = map(LSTMState, state.hidden.split(self._units, 1), state.cell.split(self._units, 1))
        return zip(self._blocks, self._seen, owned, strict=True)

    @staticmethod
    def _joined(parts: Sequence[tuple[Tensor, LSTMState]]) -> tuple[Tensor, LSTMState]:
        outputs, states = zip(*parts, strict=True)
        return torch.cat(outputs, -1), LSTMState(*(torch.cat(tensors, 1) for tensors in zip(*states, strict=True)))


class PreparedMultiplicativeLSTM:
    """A multiplicative LSTM; the arithmetic is `multiplicative_lstm_step`'s.

    Args:
        layer: whose weights are copied.
        weights: what the matrices become.
    """

    def __init__(self, layer: MultiplicativeLSTM, weights: WeightType) -> None:
        self._sizes = layer.input_size, layer.hidden_size
        self._factor = PreparedLinear(layer.weight_im.detach(), None, weights)
        self._inner = PreparedLinear(layer.weight_hm.detach(), None, weights)
        self._gates = LSTMGates(layer.weight_ih, layer.weight_mh, layer.bias, weights)

    def step(self, x: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """One time step: x (B, I) -> output (B, H) and the next state."""
        x, state = _ready(self._sizes, x, state)
        intermediate = self._factor(x).mul_(self._inner(state.hidden))  # (B, M)
        return self._gates(x, intermediate, state.cell)

    def window(self, inputs: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """inputs (T, B, I) -> outputs (T, B, H) and the state after the last step."""
        inputs, state = _ready(self._sizes, inputs, state)
        outputs = inputs.new_empty(*inputs.shape[:2], state.hidden.shape[1])
        factors = F.linear(inputs, self._factor.dense)
        for factor, projected, out in zip(factors, self._gates.project(inputs), outputs, strict=True):
            intermediate = self._inner(state.hidden).mul_(factor)
            _, state = self._gates.recur(projected, intermediate, state.cell, out)
        return outputs, state


class PreparedGRU:
    """A GRU; the arithmetic is `gru_step`'s.

    Args:
        layer: whose weights are copied.
        weights: what the matrices become.
    """

    def __init__(self, layer: GRU, weights: WeightType) -> None:
        self._sizes = layer.input_size, layer.hidden_size
        both = [by_unit(layer.weight_ih, 3), by_unit(layer.weight_hh, 3)]
        self._first, self._second = prepare_matrices(both, weights, group=3)
        self._bias = by_unit(layer.bias, 3)

    @functools.cached_property
    def _dense(self) -> tuple[Tensor, Tensor]:
        """Both matrices in float32, unit after unit; made when first wanted, and kept."""
        return self._first.dense(), self._second.dense()

    def step(self, x: Tensor, state: GRUState) -> tuple[Tensor, GRUState]:
        """One time step: x (B, I) -> output (B, H) and the next state."""
        x, state = _ready(self._sizes, x, state)
        if len(x) > FEW_STREAMS:
            return self._recur(None, None, torch.addmm(self._bias, x, self._dense[0].T), state)
        return self._recur(self._first.address, x.contiguous(), self._bias, state)

    def window(self, inputs: Tensor, state: GRUState) -> tuple[Tensor, GRUState]:
        """inputs (T, B, I) -> outputs (T, B, H) and the state after the last step."""
        inputs, state = _ready(self._sizes, inputs, state)
        outputs = []
        for projected in F.linear(inputs, self._dense[0], self._bias):
            out, state = self._recur(None, None, projected, state)
            outputs.append(out)
        return torch.stack(outputs), state

    def _recur(self, first: int | None, x: Tensor | None, base: Tensor, state: GRUState) -> tuple[Tensor, GRUState]:
        """One step from what is added to the gates, (3H,) or (B, 3H), and what the first matrix gives, if any."""
        before = state.hidden.contiguous()
        hidden = torch.empty_like(before)
        second: int | None = self._second.address
        recurrent: Tensor | None = None
        if len(before) > FEW_STREAMS:
            second, recurrent = None, before @ self._dense[1].T
        kernels().refrain_gru(
            first,
            second,
            None if x is None else x.data_ptr(),
            base.data_ptr(),
            base.shape[1] if base.ndim == 2 else 0,
            None if recurrent is None else recurrent.data_ptr(),
            before.data_ptr(),
            hidden.data_ptr(),
            before.shape[1],
            len(before),
        )
        return hidden, GRUState(hidden)


def _ready(sizes: tuple[int, int], inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
    """Inputs and state as the kernels take them: of the widths I and H, float32, one entry behind the other."""
    check_window(*sizes, inputs, state)
    return inputs.float().contiguous(), type(state)(*(part.float().contiguous() for part in state))
