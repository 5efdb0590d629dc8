"""The law of declared axes: a unit that is removed along its axes changes nothing else.

I input width, H hidden width.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from refrain.axes import AxisTable
from refrain.nn.recurrent.protocol import state_like, state_tensors

from .case import Case, assert_same, recurrent_case


def check_axes(make_layer: Callable[[int, int], Any], *, input_size: int, hidden_size: int) -> None:
    """Every parameter declares its axes, from which a unit of the inputs or of the layer can be removed.

    A unit that nothing reads is left out of a smaller layer by the declared axes. The outputs of the others stay.

    Args:
        make_layer: (input_size, hidden_size) -> a layer that declares axes, also for sizes smaller by one.
        input_size: I, at least 2.
        hidden_size: H, at least 2.

    Raises:
        AssertionError: when a declaration is missing or wrong.
    """
    case = recurrent_case(make_layer(input_size, hidden_size).eval())
    sizes = {"input": input_size, "hidden": hidden_size}
    table = _table(case.layer)
    _check_declared(case.layer, table, sizes)
    for width in sizes:
        if _can_be_removed(table, width):
            smaller_sizes = {**sizes, width: sizes[width] - 1}
            smaller = make_layer(smaller_sizes["input"], smaller_sizes["hidden"]).double().eval()
            for unit in (0, sizes[width] - 1):
                _check_removed(case, smaller, table, width, unit)


def _table(layer: Any) -> AxisTable:
    table: AxisTable = layer.axes("input", "hidden", **{name: name for name in getattr(layer, "inner_widths", ())})
    return table


def _check_declared(layer: Any, table: AxisTable, sizes: dict[str, int]) -> None:
    """All parameters, no others, and one size for each width."""
    parameters = dict(layer.named_parameters())
    if set(parameters) != set(table):
        missing, surplus = sorted(set(parameters) - set(table)), sorted(set(table) - set(parameters))
        raise AssertionError(f"axes: not declared {missing}, declared without such a parameter {surplus}")
    found = dict(sizes)
    for name, axes in table.items():
        shape = tuple(parameters[name].shape)
        if len(shape) != len(axes):
            raise AssertionError(f"axes of {name}: {len(axes)} declared for the shape {shape}")
        for length, axis in zip(shape, axes, strict=True):
            size = axis.segment.of if axis.segment else found.setdefault(axis.width, length // axis.copies)
            part = axis.segment.end - axis.segment.begin if axis.segment else size
            if length != part * axis.copies or size != found.setdefault(axis.width, size):
                raise AssertionError(
                    f"axes of {name}: a length of {length} in {shape} is declared as {axis.copies} x {axis.width!r}, "
                    f"which has {found[axis.width]} units"
                )


def _can_be_removed(table: AxisTable, width: str) -> bool:
    """Whether every axis along a width runs along all of it and allows its units to be removed."""
    along = [axis for axes in table.values() for axis in axes if axis.width == width]
    return all(axis.segment is None and getattr(axis, "removable", True) for axis in along)


@torch.no_grad()
def _check_removed(case: Case, smaller: Any, table: AxisTable, width: str, unit: int) -> None:
    """Compare a layer in which nothing reads a unit with the smaller one that never had it."""
    layer, inputs, state = case
    size = {"input": layer.input_size, "hidden": layer.hidden_size}[width]
    kept = torch.tensor([each for each in range(size) if each != unit])
    before = {name: parameter.clone() for name, parameter in layer.named_parameters()}
    for name, parameter in smaller.named_parameters():
        part = _selected(before[name], table, name, width, kept)
        if part.shape != parameter.shape:
            raise AssertionError(
                f"{name} of the layer without a unit of the {width} width has the shape {tuple(parameter.shape)} in "
                f"place of {tuple(part.shape)}; where another width follows this one by default, "
                "give it a fixed size in make_layer"
            )
        parameter.copy_(part)
    try:
        for name, parameter in layer.named_parameters():
            _forget(parameter, table, name, width, unit)
        outputs, _ = layer(inputs, state)
    finally:
        for name, parameter in layer.named_parameters():
            parameter.copy_(before[name])
    if width == "input":
        found, _ = smaller(inputs[..., kept], state)
    else:
        found, _ = smaller(inputs, _without(state, smaller, inputs.shape[1], kept, size))
        outputs = outputs[..., kept]
    assert_same([found], [outputs], f"outputs without unit {unit} of the {width} width")


def _selected(parameter: Tensor, table: AxisTable, name: str, width: str, kept: Tensor) -> Tensor:
    """A parameter without the units that are not kept."""
    for dimension, axis in enumerate(table[name]):
        if axis.width == width:
            size = parameter.shape[dimension] // axis.copies
            index = torch.cat([kept + copy * size for copy in range(axis.copies)])
            parameter = parameter.index_select(dimension, index)
    return parameter


def _forget(parameter: Tensor, table: AxisTable, name: str, width: str, unit: int) -> None:
    """Make zero, in place, what reads a unit."""
    for dimension, axis in enumerate(table[name]):
        if axis.width == width and axis.role in ("reads", "both"):
            size = parameter.shape[dimension] // axis.copies
            index = torch.tensor([unit + copy * size for copy in range(axis.copies)])
            parameter.index_fill_(dimension, index, 0.0)


def _without(state: Any, smaller: Any, batch_size: int, kept: Tensor, size: int) -> Any:
    """The state without a unit, in every part of it that is as wide as the layer."""
    template = smaller.initial_state(batch_size)
    parts = []
    for part, wanted in zip(state_tensors(state), state_tensors(template), strict=True):
        for dimension in range(1, part.ndim):
            if part.shape[dimension] == size and wanted.shape[dimension] == size - 1:
                part = part.index_select(dimension, kept)
        parts.append(part)
    return state_like(template, parts)
