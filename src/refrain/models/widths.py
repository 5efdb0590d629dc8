"""The names of a model's widths, and what the declared axes say: how wide each is, and whether the shapes agree."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import nn

from refrain.axes import AxisTable, LayerWidths


class WidthNames(NamedTuple):
    """The names that a language model gives to its widths.

    Attributes:
        vocabulary: the words.
        embedding: entries of a word vector.
        layers: the widths of each recurrent layer, from the bottom up.
        head: a name for each of the head's `inner_widths`.
    """

    vocabulary: str
    embedding: str
    layers: tuple[LayerWidths, ...]
    head: Mapping[str, str]


def layer_widths(layers: Sequence[Any], *, last: str | None = None) -> tuple[LayerWidths, ...]:
    """Names for the widths of recurrent layers: `layer0.hidden`, `layer0.intermediate`, and so on.

    Args:
        layers: from the bottom up; each lists its `inner_widths`, if it has any.
        last: the name of the last layer's hidden width, and of that layer, where another part of the model has the same
            width; None for a width of its own.
    """
    names = []
    for index, layer in enumerate(layers):
        shared = last if index == len(layers) - 1 else None
        name = shared or f"layer{index}"
        inner = {width: f"{name}.{width}" for width in getattr(layer, "inner_widths", ())}
        names.append(LayerWidths(shared or f"{name}.hidden", inner))
    return tuple(names)


def widths(parameters: Mapping[str, nn.Parameter], table: AxisTable) -> dict[str, int]:
    """The size of every width named in the table.

    Args:
        parameters: name -> parameter, as from `named_parameters()`.
        table: the axes of each of those parameters.

    Returns:
        Width name -> number of units.

    Raises:
        ValueError: when a parameter is not declared, a declared one is missing, or two axes of one width disagree.
    """
    if set(parameters) != set(table):
        missing, surplus = sorted(set(parameters) - set(table)), sorted(set(table) - set(parameters))
        raise ValueError(f"axes: not declared {missing}, declared but not there {surplus}")
    sizes: dict[str, int] = {}
    for name, axes in table.items():
        shape = parameters[name].shape
        if len(shape) != len(axes):
            raise ValueError(f"axes: {name} has {len(shape)} dimensions, {len(axes)} are declared")
        for length, axis in zip(shape, axes, strict=True):
            size, remainder = divmod(length, axis.copies)
            if axis.segment is not None:
                remainder += size != axis.segment.end - axis.segment.begin
                size = axis.segment.of
            if remainder or sizes.setdefault(axis.width, size) != size:
                raise ValueError(
                    f"axes: {name} gives width {axis.width!r} {length} / {axis.copies} units, "
                    f"elsewhere it has {sizes.get(axis.width)}"
                )
    return sizes
