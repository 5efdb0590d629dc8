"""Single units of a model: their layer, and holding them at a value while text is generated.

B batch size, H width of the layer.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from refrain.arguments import check_choice, real_of, whole_of
from refrain.errors import UserError, shown
from refrain.models import Network
from refrain.models.protocol import part_of

Part = Literal["cell", "hidden"]
State = tuple[Any, ...]
LARGEST = torch.finfo(torch.float32).max


def chosen_layer(model: Network, layer: int | None) -> int:
    """The index of a layer, counting from 0 at the bottom; None is the last layer.

    Raises:
        UserError: when the layer is no whole number or does not exist, or the model has no stack of layers.
    """
    count = len(_layers(model))
    if layer is None:
        return count - 1
    layer = whole_of(layer, "layer")
    if not 0 <= layer < count:
        raise UserError(f"layer must be at least 0 and less than {count}, the number of layers (got {layer})")
    return layer


def chosen_part(model: Network, layer: int, which: Part | None) -> Part:
    """The part of the state of a layer; None is the cell state, or the hidden state if the layer has no cell state.

    Raises:
        UserError: when `which` is another word, or `cell` where the layer has no cell state, or the state of the layer
            names no part.
    """
    check_choice("which", which, get_args(Part), optional=True)
    has_cell = "cell" in state_parts(model, layer, model.initial_state(1))
    if which == "cell" and not has_cell:
        name = type(_layers(model)[layer]).__name__
        raise UserError(f"layer {layer} is a {name}, which has a hidden state and no cell state; take 'hidden'")
    return which or ("cell" if has_cell else "hidden")


def state_parts(model: Network, layer: int, state: Sequence[Any]) -> dict[Part, Tensor]:
    """The hidden state (B, H) of a layer and, where it has one, its cell state, by name.

    Args:
        model: whose layer it is.
        layer: its index.
        state: of all layers. That of a layer is a NamedTuple with these names, or a tensor, which is the hidden state.

    Raises:
        UserError: when the state of the layer is something else.
    """
    own = state[layer]
    if isinstance(own, Tensor):
        return {"hidden": own}
    names: tuple[Part, ...] = ("hidden", "cell")
    parts: dict[Part, Tensor] = {name: getattr(own, name) for name in names if hasattr(own, name)}
    if "hidden" not in parts:
        name = type(_layers(model)[layer]).__name__
        raise UserError(
            f"layer {layer} is a {name}, whose state has no part named 'hidden'; make it a NamedTuple of 'hidden' and, "
            "where there is one, 'cell'"
        )
    return parts


def _layers(model: Network) -> Sequence[Any]:
    layers: Sequence[Any] = part_of(model, "stack", "reading the units of a layer").layers
    return layers


def units_of(given: Any) -> list[int]:
    """The units of a layer, as a list of whole numbers.

    Args:
        given: what should be several units.

    Raises:
        UserError: when it is one unit, a string or something else.
    """
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise UserError(f"units: must be a list of whole numbers, such as [3] or [3, 5] (got {shown(given)})")
    return [whole_of(unit, "units") for unit in (given.tolist() if isinstance(given, Tensor) else given)]


def check_units(model: Network, layer: int, units: Sequence[int]) -> None:
    """Check that a layer has some units.

    Raises:
        UserError: when a unit does not exist; the message lists the widths of all layers.
    """
    widths = [int(each.hidden_size) for each in _layers(model)]
    for unit in units:
        if not 0 <= unit < widths[layer]:
            listed = ", ".join(f"layer {index} has {width}" for index, width in enumerate(widths))
            raise UserError(f"unit must be at least 0 and less than {widths[layer]} (got {unit}); {listed}")


def hold_units(model: Network, values: Mapping[int | tuple[int, int], float]) -> Callable[[State], State]:
    """Hold units at values, as Radford et al. (2017, section 4.2) did with the sentiment unit.

    Args:
        model: the model that the units belong to.
        values: the value of each unit, by its index in the last layer or by (layer, index).

    Returns:
        A function that maps a state to a new one in which the cell state of these units has these values, or their
        hidden state in layers without a cell state.

    Raises:
        UserError: when `values` does not map units to numbers, a unit does not exist or is named twice, or a value is
            not finite in float32.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"clamp: must map units to values, as in {{3: 1.5}} (got {shown(values)})")
    held: dict[tuple[int, int], float] = {}
    parts: dict[int, Part] = {}
    for key, given in values.items():
        layer, unit = _named_unit(key)
        value = real_of(given, f"clamp: the value of unit {unit}")
        layer = chosen_layer(model, layer)
        check_units(model, layer, [unit])
        if (layer, unit) in held:
            raise UserError(f"clamp: unit {unit} of layer {layer} is named twice")
        # this is false for what is not a number as well
        if not abs(value) <= LARGEST:
            raise UserError(f"clamp: the value of unit {unit} must be finite in float32 (got {value})")
        held[layer, unit] = value
        parts[layer] = chosen_part(model, layer, None)

    def overwrite(state: State) -> State:
        if not held:
            return state
        layers = list(state)
        for (layer, unit), value in held.items():
            tensor = state_parts(model, layer, layers)[parts[layer]].clone()  # (B, H)
            tensor[:, unit] = value
            alone = isinstance(layers[layer], Tensor)
            layers[layer] = tensor if alone else layers[layer]._replace(**{parts[layer]: tensor})
        return tuple(layers)

    return overwrite


def _named_unit(key: Any) -> tuple[int | None, int]:
    """The layer and the index of a unit that is held; None for the last layer."""
    if not isinstance(key, tuple):
        return None, whole_of(key, "clamp: a unit")
    if len(key) != 2:
        raise UserError(f"clamp: a unit must be an index, or a layer and an index, as in (0, 3) (got {shown(key)})")
    return whole_of(key[0], "clamp: the layer of a unit"), whole_of(key[1], "clamp: a unit")
