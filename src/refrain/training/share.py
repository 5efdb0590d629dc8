"""What a rank computes of a window when several train one model.

T steps in the window, B columns of the whole batch, N words of a batch of sentences.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from refrain.data.tagged.buckets import NO_TAG, PADDING
from refrain.nn.columns import Columns
from refrain.parallel import Ranks


class Share(NamedTuple):
    """The part of a window that a rank computes.

    Attributes:
        inputs: ids (T, columns of this rank), or (T, columns, 1 + F) of sentences.
        targets: the targets of these columns.
        columns: the columns; None for all of them.
        weight: the fraction of the window that this rank stands for, by which the terms of its loss count.
        copies: the number of ranks that compute the same, by which its nats are divided.
        divisor: what the nats of the whole window are divided by: its columns or its targets.
        tokens: the number of targets of the whole window.
    """

    inputs: Tensor
    targets: Tensor
    columns: Columns | None
    weight: float
    copies: int
    divisor: int
    tokens: int


def share_of(inputs: Tensor, targets: Tensor, ranks: Ranks, loss_scale: str) -> Share:
    """Return the part of a window that this rank computes.

    Args:
        inputs: ids (T, B), or (T, B, 1 + F) of sentences.
        targets: (T, B), or (N,) of sentences, in the order of `Tagger.logits`.
        ranks: the ranks.
        loss_scale: `sum-over-time` or `mean-over-tokens`.
    """
    # a tagger's words without a tag are not in the loss
    tokens = int((targets != NO_TAG).sum())
    divisor = targets.shape[1] if loss_scale == "sum-over-time" else tokens
    columns = ranks.columns(inputs.shape[1])
    if columns is None:
        return Share(inputs, targets, None, 1 / ranks.size, ranks.size, divisor, tokens)
    own = columns.of(targets) if targets.ndim > 1 else _own_words(inputs, targets, columns)
    weight = columns.number / columns.total
    return Share(columns.of(inputs).contiguous(), own, columns, weight, 1, divisor, tokens)


def _own_words(inputs: Tensor, targets: Tensor, columns: Columns) -> Tensor:
    """The targets of the words in some columns."""
    is_word = inputs[..., 0] != PADDING
    table = torch.full(is_word.shape, NO_TAG, dtype=targets.dtype, device=targets.device)
    table[is_word] = targets
    return columns.of(table)[columns.of(is_word)]
