"""Sequences that start again within a window, from a state of zeros.

T steps in the window, B batch, I input width, H hidden width.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from refrain.nn.columns import present_part

from .protocol import State, state_like, state_tensors


def scan_with_resets(
    layer: Callable[[Tensor, State], tuple[Tensor, State]], inputs: Tensor, state: State, resets: Tensor
) -> tuple[Tensor, State]:
    """A layer over a window in which some sequences start again, from a state of zeros.

    The layer runs over the stretches between such steps, so the masks of weight dropout are drawn for each stretch.

    Args:
        layer: maps a window (T, B, I) and a state to outputs (T, B, H) and the state after.
        inputs: (T, B, I).
        state: the state before the first step.
        resets: (T, B), true where the state is zero before the step; those of all columns where several processes
            share a batch, as each draws the same masks.

    Returns:
        Outputs (T, B, H) and the state after the last step.
    """
    edges = sorted({0, *resets.any(dim=1).nonzero().flatten().tolist(), len(inputs)})
    part = present_part()
    resets = resets if part is None else part.columns.of(resets)
    outputs = []
    for first, last in pairwise(edges):
        kept = ~resets[first]
        if not kept.all():
            state = cleared_state(state, kept)
        y, state = layer(inputs[first:last], state)
        outputs.append(y)
    return torch.cat(outputs), state


def cleared_state(state: State, kept: Tensor) -> State:
    """The state with zeros for the sequences that begin anew.

    Args:
        state: tensors (B, ...).
        kept: (B,), false where a sequence begins anew.
    """
    parts = state_tensors(state)
    # not a product, in which a state that is not a number would stay
    after = [part.masked_fill(~kept.view(-1, *[1] * (part.ndim - 1)), 0) for part in parts]
    cleared: State = state_like(state, after)
    return cleared


def check_resets(inputs: Tensor, resets: Tensor) -> None:
    """Check the steps at which sequences start again.

    Args:
        inputs: (T, B, ...).
        resets: (T, B), or those of all columns where several processes share a batch.

    Raises:
        ValueError: when the resets have another dtype than bool, or another shape.
    """
    part = present_part()
    columns = inputs.shape[1] if part is None else part.columns.total
    if resets.dtype != torch.bool or resets.shape != (len(inputs), columns):
        raise ValueError(
            f"resets must be bool of shape {(len(inputs), columns)} (got {str(resets.dtype).removeprefix('torch.')} of "
            f"shape {tuple(resets.shape)})"
        )
