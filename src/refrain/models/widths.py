"""The names of the widths of a model, and their sizes by its declared axes."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import nn

from refrain.axes import AxisTable, LayerWidths


class WidthNames(NamedTuple):
    """The names that a language model gives to its widths.

    Attributes:
        vocabulary: the name of the vocabulary size.
        embedding: the name of the width of the embedding.
        layers: the names of the widths of each recurrent layer, from the bottom up.
        head: the name of each of the `inner_widths` of the head.
        embedding_inner: the name of each of the `inner_widths` of the embedding.
    """

    vocabulary: str
    embedding: str
    layers: tuple[LayerWidths, ...]
    head: Mapping[str, str]
    embedding_inner: Mapping[str, str]


def layer_widths(layers: Sequence[Any], *, last: str | None = None) -> tuple[LayerWidths, ...]:
    """Name the widths of recurrent layers: `layer0.hidden`, `layer0.intermediate`, and so on.

    Args:
        layers: the layers from the bottom up, each with an optional attribute `inner_widths`.
        last: the name of the last layer and of its hidden width, if another part of the model shares this width; None
            otherwise.
    """
    names = []
    for index, layer in enumerate(layers):
        shared = last if index == len(layers) - 1 else None
        name = shared or f"layer{index}"
        inner = {width: f"{name}.{width}" for width in getattr(layer, "inner_widths", ())}
        names.append(LayerWidths(shared or f"{name}.hidden", inner))
    return tuple(names)


def widths(parameters: Mapping[str, nn.Parameter], table: AxisTable) -> dict[str, int]:
    """Compute the size of every width in a table of axes.

    Args:
        parameters: name -> parameter, as in `named_parameters()`.
        table: the axes of each of these parameters.

    Returns:
        Width name -> number of units.

    Raises:
        ValueError: when a parameter is not declared, a declared parameter does not exist, or two axes of a width have
            different sizes.
    """
    if set(parameters) != set(table):
        missing = sorted(set(parameters) - set(table))
        surplus = sorted(set(table) - set(parameters))
        raise ValueError(f"axes: these parameters are not declared: {missing}; these do not exist: {surplus}")
    sizes: dict[str, int] = {}
    for name, axes in table.items():
        shape = parameters[name].shape
        if len(shape) != len(axes):
            raise ValueError(f"axes: {name} has {len(shape)} dimensions, but {len(axes)} are declared")
        for length, axis in zip(shape, axes, strict=True):
            size, remainder = divmod(length, axis.copies)
            if axis.segment is not None:
                remainder += size != axis.segment.end - axis.segment.begin
                size = axis.segment.of
            if remainder or sizes.setdefault(axis.width, size) != size:
                raise ValueError(
                    f"axes: by {name}, width {axis.width!r} has {length} / {axis.copies} units, "
                    f"but {sizes.get(axis.width)} elsewhere"
                )
    return sizes
