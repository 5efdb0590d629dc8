"""What layers with stacked gates have in common, such as LSTM and GRU: their parameters, and how these are drawn.

I input width, H hidden width, G gates.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from refrain.axes import Axis, AxisTable
from refrain.nn.weight_transforms import match_gains, transform_axes


def gated_parameters(layer: str, gates: int, input_size: int, hidden_size: int) -> tuple[nn.Parameter, ...]:
    """Uninitialised parameters: input weight (G H, I), recurrent weight (G H, H) and bias (G H,).

    Args:
        layer: its name, for the error.
        gates: G.
        input_size: I.
        hidden_size: H.

    Raises:
        ValueError: when a width is not positive.
    """
    if input_size < 1 or hidden_size < 1:
        raise ValueError(f"{layer} widths must be positive, got {input_size=}, {hidden_size=}")
    rows = gates * hidden_size
    shapes = ((rows, input_size), (rows, hidden_size), (rows,))
    return tuple(nn.Parameter(torch.empty(shape)) for shape in shapes)


def draw_uniform(layer: nn.Module, hidden_size: int) -> None:
    """Draw all weights from U(-1/sqrt(H), 1/sqrt(H)), as torch's own layers do. Changes them in place.

    Every weight norm starts at the norm of its weight.

    Args:
        layer: with `transforms`.
        hidden_size: H.
    """
    bound = 1 / math.sqrt(hidden_size)
    for parameter in layer.parameters(recurse=False):
        nn.init.uniform_(parameter, -bound, bound)
    match_gains(layer)


def add_second_bias(layer: nn.Module, hidden_size: int, gates: int) -> None:
    """Add another draw from U(-1/sqrt(H), 1/sqrt(H)) to the bias of some gates. Changes the bias in place.

    The sum is distributed as the sum of the two biases that torch's layers have, with 1.41 times the standard deviation
    of one of them.

    Args:
        layer: with `bias`.
        hidden_size: H.
        gates: the number of gates, from the first on, in which two biases would only act as their sum.
    """
    bound = 1 / math.sqrt(hidden_size)
    bias: Any = layer.bias
    if bias.is_meta:
        # torch would import its compiler to add what has no numbers
        return
    with torch.no_grad():
        rows = bias[: gates * hidden_size]
        rows += torch.empty_like(rows).uniform_(-bound, bound)


def gated_axes(
    gates: int, input_width: str, hidden_width: str, *, input_transform: nn.Module, recurrent_transform: nn.Module
) -> AxisTable:
    """The axes of `gated_parameters` and of the transforms' parameters.

    Args:
        gates: G.
        input_width: name of I.
        hidden_width: name of H.
        input_transform: of the input weight.
        recurrent_transform: of the recurrent weight.
    """
    rows = Axis(hidden_width, gates)
    return {
        "weight_ih": (rows, Axis(input_width, role="reads")),
        "weight_hh": (rows, Axis(hidden_width, role="reads")),
        "bias": (rows._replace(role="shifts"),),
        **transform_axes("input_transform", input_transform, rows),
        **transform_axes("recurrent_transform", recurrent_transform, rows),
    }


def in_one_buffer(weights: Sequence[Tensor]) -> list[Tensor]:
    """Copies of weights, one behind the other in a single buffer; gradients reach the originals.

    cuDNN requires this layout, in the order input weight, recurrent weight, biases. If the weights of a layer are
    scattered, as they are after a transform, cuDNN would gather them in each call, and warn.

    Args:
        weights: in that order.
    """
    buffer = torch.cat([weight.flatten() for weight in weights])
    parts = buffer.split([weight.numel() for weight in weights])
    return [part.view(weight.shape) for part, weight in zip(parts, weights, strict=True)]
