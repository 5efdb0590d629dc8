"""Recurrent layers of any widths on top of each other, with dropout between them.

T steps in the window, B batch, I input width, H width of the last layer.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from refrain.axes import AxisTable, LayerWidths
from refrain.nn.given_module import module_or_identity

from .given import check_tensor
from .resets import check_resets, scan_with_resets


class RecurrentStack(nn.Module):
    """A stack of recurrent layers; every output but the last passes through `between`.

    Args:
        layers: each a `RecurrentLayer` whose input width is the hidden width of the layer below.
        between: applied to the (T, B, H_l) outputs of every layer but the last.

    Raises:
        ValueError: when there is no layer, the widths of two neighbours differ, or `between` is no module.
    """

    def __init__(self, layers: Sequence[nn.Module], *, between: nn.Module | None = None) -> None:
        super().__init__()
        if not layers:
            raise ValueError("RecurrentStack needs at least one layer")
        for below, above in pairwise(layers):
            if below.hidden_size != above.input_size:
                raise ValueError(
                    f"a layer of input width {above.input_size} cannot follow one of hidden width {below.hidden_size}"
                )
        self.layers = nn.ModuleList(layers)
        self.between = module_or_identity("between", between)

    def initial_state(self, batch_size: int) -> tuple[Any, ...]:
        """The initial state of each layer, from the bottom up."""
        return tuple(layer.initial_state(batch_size) for layer in self._layers())

    def forward(
        self, inputs: Tensor, state: Sequence[Any] | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, tuple[Any, ...]]:
        """Run all layers over a window.

        Args:
            inputs: (T, B, I).
            state: of each layer, before the first step; None for the initial state.
            resets: (T, B), true where a sequence starts again from the zero state; None if none does. See
                `scan_with_resets` for a batch that several processes share.

        Returns:
            Outputs of the last layer (T, B, H) and the state of each layer.

        Raises:
            ValueError: when the number of states is not that of the layers, or resets are not bool (T, B).
        """
        state = self._checked(state, inputs, 3)
        if resets is not None:
            check_resets(inputs, resets)
        after = []
        for index, (layer, before) in enumerate(zip(self._layers(), state, strict=True)):
            below = self.between(inputs) if index else inputs
            if resets is None:
                inputs, layer_state = layer(below, before)
            else:
                inputs, layer_state = scan_with_resets(layer, below, before, resets)
            after.append(layer_state)
        return inputs, tuple(after)

    def step(self, x: Tensor, state: Sequence[Any] | None = None) -> tuple[Tensor, tuple[Any, ...]]:
        """One time step: x (B, I) -> output of the last layer (B, H) and the state of each layer."""
        state = self._checked(state, x, 2)
        after = []
        for index, (layer, before) in enumerate(zip(self._layers(), state, strict=True)):
            # the output may be a part of the state, which a module that works in place would change
            x, layer_state = layer.step(self.between(x.clone()) if index else x, before)
            after.append(layer_state)
        return x, tuple(after)

    def axes(self, input_width: str, layer_widths: Sequence[LayerWidths]) -> AxisTable:
        """The axes of each layer's parameters; `layer_widths` names the widths of each layer."""
        table: AxisTable = {}
        for index, (layer, names) in enumerate(zip(self._layers(), layer_widths, strict=True)):
            for name, axes in layer.axes(input_width, names.hidden, **names.inner).items():
                table[f"layers.{index}.{name}"] = axes
            input_width = names.hidden
        return table

    def _checked(self, state: Sequence[Any] | None, inputs: Tensor, ndim: int) -> Sequence[Any]:
        """The state of each layer; if none is given, that of a batch, or what the layers start from without one."""
        check_tensor(inputs)
        if state is None:
            return self.initial_state(inputs.shape[-2]) if inputs.ndim == ndim else [None] * len(self.layers)
        if len(state) != (count := len(self.layers)):
            raise ValueError(
                f"the stack needs a state for each of its {count} layers (got {len(state)}); see initial_state"
            )
        return state

    def _layers(self) -> list[Any]:
        # a ModuleList is typed as Modules; that each is a `RecurrentLayer` is required of the caller
        return list(self.layers)
