"""The weights and states of many LSTMs side by side as tensors of equal blocks.

k blocks of h hidden units, or fewer; T steps, B batch, H hidden units in all.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from refrain.nn.segments import Block


class Blocks(NamedTuple):
    """The weights of all blocks. A block with fewer units than others is padded with zeros, which stay zero."""

    w_ih: list[Tensor]  # of each block, (4h, its inputs)
    w_hh: Tensor  # (k, 4h, h)
    bias: Tensor  # (k, 4h)

    @classmethod
    def of(cls, weights: Sequence[Tensor]) -> "Blocks":
        """From w_ih, w_hh and bias of each block in turn, of any numbers of units."""
        units = max(weight.shape[1] for weight in weights[1::3])
        w_ih = [_padded(weight, units, 0) for weight in weights[::3]]
        w_hh = [_padded(weight, units, units) for weight in weights[1::3]]
        bias = [_padded(weight[:, None], units, 0)[:, 0] for weight in weights[2::3]]
        return cls(w_ih, torch.stack(w_hh), torch.stack(bias))


def split_units(values: Tensor, blocks: Sequence[Block]) -> Tensor:
    """(B, H) -> (k, B, h), each block's units padded with zeros.

    Args:
        values: a part of the state.
        blocks: of the plan.
    """
    units = [block.units for block in blocks]
    return torch.stack([F.pad(part, (0, max(units) - part.shape[-1])) for part in values.split(units, -1)])


def joined(values: Tensor, blocks: Sequence[Block]) -> Tensor:
    """(k, ..., B, h) -> (..., B, H): the inverse of `split_units`.

    Args:
        values: of all blocks.
        blocks: of the plan.
    """
    return torch.cat([part[..., : block.units] for part, block in zip(values, blocks, strict=True)], -1)


def _padded(weight: Tensor, units: int, columns: int) -> Tensor:
    """(4 * own units, own columns) -> (4 * units, columns or more), padded with zeros behind rows and columns."""
    gates = weight.unflatten(0, (4, -1))
    padding = (0, max(columns - gates.shape[2], 0), 0, units - gates.shape[1])
    return (F.pad(gates, padding) if any(padding) else gates).flatten(0, 1)
