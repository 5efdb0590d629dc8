"""The softmax of a stepper: packed matrices of a plain head, of one of low rank, or of one in bands of words.

B batch size, H width of the last layer, V tokens in the vocabulary.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from refrain.nn import BlockLowRankHead, LowRankHead, SoftmaxHead
from refrain.nn.kernels.packed_linear import PackedLinear, WeightType, has_stepper

Block = tuple[PackedLinear | None, PackedLinear]
"""What the last layer's output is projected by, if by anything, and the layer of some words."""


class PackedHead:
    """Logits of all words, as blocks of words side by side.

    Args:
        blocks: at least one, in the order of the words.
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._blocks = list(blocks)
        self.vocabulary_size = sum(words.matrix.rows for _, words in blocks)

    def __call__(self, x: Tensor) -> Tensor:
        """Outputs of the last layer (B, H) -> logits (B, V)."""
        return _joined([words(x if projection is None else projection(x)) for projection, words in self._blocks])

    def step(self, x: Tensor) -> Tensor:
        """The same for one step of many streams; see `PackedLinear.step`."""
        return _joined(
            [words.step(x if projection is None else projection.step(x)) for projection, words in self._blocks]
        )

    def in_integers(self) -> Callable[[Tensor, Tensor, Tensor], Tensor] | None:
        """The nats (M,) of words by int8 matmuls, for outputs (B, H), rows (M,) of these and words (M,).

        It is None for several blocks.
        """
        if len(self._blocks) > 1:
            return None
        ((projection, words),) = self._blocks
        softmax = words.in_integers()
        return lambda x, rows, following: softmax.nats(x if projection is None else projection(x), rows, following)


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


def pack_head(head: Any, weights: WeightType) -> PackedHead | None:
    """Pack the matrices of a head; None where no kernel computes it.

    Args:
        head: a head of a language model.
        weights: dtype of the packed weights.
    """
    if type(head) in (SoftmaxHead, LowRankHead) and has_stepper(head.weight):
        projection = PackedLinear(head.projection, None, weights) if type(head) is LowRankHead else None
        return PackedHead([(projection, PackedLinear(head.weight, head.bias, weights))])
    if type(head) is BlockLowRankHead and has_stepper(head.bias):
        projections = {name: PackedLinear(each, None, weights) for name, each in head.projections.items()}
        starts = [*(band.start for band in head.bands), head.vocabulary_size]
        biases = [head.bias[start:end] for start, end in pairwise(starts)]
        pairs = enumerate(zip(head.blocks, biases, strict=True))
        return PackedHead(
            [(projections.get(str(index)), PackedLinear(block, bias, weights)) for index, (block, bias) in pairs]
        )
    return None
