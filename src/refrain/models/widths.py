"""What a model's declared axes say: how wide each width is, and whether the shapes agree."""

from collections.abc import Mapping

from torch import nn

from refrain.axes import AxisTable


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
