"""Layers for inference: packed weights where there are kernels for them, otherwise the layer's own step and window.

T steps in the window, B batch, I input width, H hidden width, G gates.
"""

from collections.abc import Iterable
from typing import Any, cast

from torch import Tensor, nn

from refrain.nn.dropout import Dropout, HeldMask
from refrain.nn.kernels.packed_linear import WeightType, has_stepper
from refrain.nn.weight_transforms import WeightDropout

from .protocol import Packable, PackedLayer, check_window

METHODS = {"step", "forward", "window_weights"}
"""The methods of a layer that its packed form replaces."""


def pack_layer(layer: Any, weights: WeightType) -> PackedLayer:
    """A layer for inference, from a copy of its weights if there are kernels for it.

    Args:
        layer: in evaluation mode, with its weight norms folded; it must not change afterwards.
        weights: dtype of the packed weights.
    """
    packable = isinstance(layer, Packable) and _packs_what_it_computes(layer)
    if packable and has_stepper(next(layer.parameters())):
        return cast("PackedLayer", layer.packed(weights))
    return UnpackedLayer(layer)


def _packs_what_it_computes(layer: Any) -> bool:
    """Whether the packed form is that of the layer's own step, and no transform acts on its weights in evaluation.

    A subclass may compute something else than the class that it inherits `packed` from, and so may a layer of which
    methods were replaced; the same holds for the blocks of a layer.
    """
    own = all(
        "packed" in vars(type(part)) and not METHODS & vars(part).keys()
        for part in layer.modules()
        if isinstance(part, Packable)
    )
    inert = (nn.Identity, nn.Sequential, nn.Dropout, Dropout, WeightDropout, HeldMask)
    transforms = [each for part in layer.modules() for each in getattr(part, "transforms", {}).values()]
    acts = any(type(part) not in inert for transform in transforms for part in transform.modules())
    return own and not acts


class UnpackedLayer:
    """A layer's own step and window.

    Args:
        layer: in evaluation mode.
    """

    def __init__(self, layer: Any) -> None:
        self.step = layer.step
        self.window = layer


def unpacked_names(layers: Iterable[PackedLayer]) -> list[str]:
    """The names of the classes of layers that no kernel computes, each once.

    Args:
        layers: what `pack_layer` returned.
    """
    return list(dict.fromkeys(type(layer.window).__name__ for layer in layers if isinstance(layer, UnpackedLayer)))


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
