"""What a law is tried on: a layer with random weights, a window of odd sizes, and a state that is not zero.

T steps in the window, B sequences, I input width, H hidden width.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refrain.nn.recurrent.protocol import state_like, state_tensors

STEPS, BATCH = 7, 3
"""Odd and different, so that axes that are mixed up cannot go unseen."""


class Case(NamedTuple):
    """A layer and what it is given, all in float64 and all with gradients."""

    layer: Any
    inputs: Tensor  # (T, B, I)
    state: Any


def recurrent_case(layer: Any, *, steps: int = STEPS, batch_size: int = BATCH, seed: int = 1) -> Case:
    """A case for the laws of recurrent layers.

    Args:
        layer: is converted to float64 in place; a little noise is added to its parameters, so that none is zero.
        steps: T.
        batch_size: B.
        seed: of the noise, the inputs and the state.
    """
    generator = torch.Generator().manual_seed(seed)
    layer = layer.double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * random_like(parameter, generator))
    inputs = torch.randn(steps, batch_size, layer.input_size, generator=generator, dtype=torch.float64)
    template = layer.initial_state(batch_size)
    state = state_like(template, [random_like(part, generator).requires_grad_() for part in state_tensors(template)])
    return Case(layer, inputs.requires_grad_(), state)


def random_like(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers in the shape and dtype of a tensor."""
    return torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)


def select(state: Any, entries: slice) -> list[Tensor]:
    """The tensors of a state for some entries of the batch."""
    return [part[entries] for part in state_tensors(state)]


def assert_same(found: Sequence[Tensor], expected: Sequence[Tensor], what: str) -> None:
    """Compare tensors pair by pair.

    Raises:
        AssertionError: naming `what` is different, and by how much.
    """
    for one, other in zip(found, expected, strict=True):
        if one.shape != other.shape:
            raise AssertionError(f"{what}: shape {tuple(one.shape)}, expected {tuple(other.shape)}")
        difference = float((one - other).detach().abs().max()) if one.numel() else 0.0
        if not torch.allclose(one, other, rtol=1e-7, atol=1e-7):
            raise AssertionError(f"{what}: off by up to {difference:.2g}")
