"""Layers for inference: packed weights where there are kernels for them, otherwise the layer's own step and window.

T steps in the window, B batch, I input width, H hidden width, G gates.
"""

from typing import Any

from torch import Tensor

from refrain.nn.kernels.packed_linear import WeightType, has_stepper

from .protocol import Packable, PackedLayer, check_window


def pack_layer(layer: Any, weights: WeightType) -> PackedLayer:
    """A layer for inference, from a copy of its weights if there are kernels for it.

    Args:
        layer: in evaluation mode, without transforms that act there; it must not change afterwards.
        weights: dtype of the packed weights.
    """
    if isinstance(layer, Packable) and has_stepper(next(layer.parameters())):  # type: ignore[attr-defined]
        return layer.packed(weights)
    return UnpackedLayer(layer)


class UnpackedLayer:
    """A layer's own step and window.

    Args:
        layer: in evaluation mode.
    """

    def __init__(self, layer: Any) -> None:
        self.step = layer.step
        self.window = layer


def as_float32(sizes: tuple[int, int], inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
    """Inputs and state as the kernels take them, float32 and contiguous.

    Args:
        sizes: I and H.
        inputs: (T, B, I) or (B, I).
        state: a NamedTuple of tensors (B, H).

    Raises:
        ValueError: when a width or the batch differs.
    """
    check_window(*sizes, inputs, state)
    return inputs.float().contiguous(), type(state)(*(part.float().contiguous() for part in state))


def by_unit(stacked: Tensor, gates: int) -> Tensor:
    """Rows gate by gate (G H, ...) -> the same rows, unit by unit.

    Args:
        stacked: a weight or a bias.
        gates: G.
    """
    parts: Tensor = stacked.detach().unflatten(0, (gates, -1))
    return parts.transpose(0, 1).flatten(0, 1).contiguous()


def by_gate(stacked: Tensor, gates: int) -> Tensor:
    """Rows unit by unit (H G, ...) -> the same rows, gate by gate: the inverse of `by_unit`.

    Args:
        stacked: a weight or a bias.
        gates: G.
    """
    parts: Tensor = stacked.unflatten(0, (-1, gates))
    ordered: Tensor = parts.transpose(0, 1).flatten(0, 1)
    return ordered
