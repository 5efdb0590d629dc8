"""Word vectors of predefined sparseness: frequent words have long vectors, rare words short ones.

Demeester et al. (2018), Predefined Sparseness in Recurrent Sequence Models, arXiv 1808.08720, section 2.2. Ids must be
in the order of rising frequency: entry j of the vectors exists for the words from some id on. Zeros are not stored.

V words in the vocabulary, D embedding width.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refrain.axes import Axis, AxisTable, Segment
from refrain.nn.step_graph.builder import GraphBuilder, Value

from .dropout import EmbeddingDropout
from .given_module import WORD_DROPOUT, check_module
from .ids import check_ids
from .segments import Band


class SparseEmbedding(nn.Module):
    """Looks up a vector for each token; its entries are zero where the token's word has none.

    Args:
        vocabulary_size: V.
        bands: the blocks of the matrix, as from `plan_bands`.
        word_dropout: maps the vectors, their ids and V to the vectors used, for example `EmbeddingDropout(0.1)`.

    Raises:
        ValueError: when a band does not fit the vocabulary, or `word_dropout` is no module.
    """

    def __init__(
        self, vocabulary_size: int, bands: Sequence[Band], *, word_dropout: EmbeddingDropout | None = None
    ) -> None:
        super().__init__()
        self.vocabulary_size = vocabulary_size
        self.bands = tuple(Band(*band) for band in bands)
        starts = [start for start, _ in self.bands]
        fits = all(0 <= start < vocabulary_size and width >= 1 for start, width in self.bands)
        if not starts or starts[0] or starts != sorted(starts) or not fits:
            raise ValueError(f"SparseEmbedding: bands {list(bands)} do not fit {vocabulary_size} words")
        self.embedding_size = sum(band.width for band in self.bands)
        # block j is the vectors' part j of the words from its start on
        self.blocks = nn.ParameterList(
            nn.Parameter(torch.empty(vocabulary_size - start, width)) for start, width in self.bands
        )
        check_module("word_dropout", word_dropout, WORD_DROPOUT)
        self.word_dropout = word_dropout
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the entries from U(-0.1, 0.1). Changes them in place."""
        for block in self.blocks:
            nn.init.uniform_(block, -0.1, 0.1)

    def forward(self, ids: Tensor) -> Tensor:
        """ids of any shape, int64 in [0, V) -> vectors of that shape with D appended.

        Raises:
            IndexError: when an id on a CPU is not in [0, V).
        """
        check_ids("ids", ids, self.vocabulary_size)
        parts = []
        for (start, _), block in zip(self.bands, self.blocks, strict=True):
            part = F.embedding((ids - start).clamp_min(0), block)
            parts.append(part * (ids >= start)[..., None] if start else part)
        vectors = torch.cat(parts, -1)
        return vectors if self.word_dropout is None else self.word_dropout(vectors, ids, self.vocabulary_size)

    def describe(self, build: GraphBuilder, ids: Value) -> Value:
        """The lookup as operations; see `Describable`."""
        parts = []
        for index, (band, block) in enumerate(zip(self.bands, self.blocks, strict=True)):
            parts.append(build.gather(ids, build.weight(f"blocks.{index}", block), band.start))
        return build.concat(parts)

    def matrix(self) -> Tensor:
        """The dense matrix (V, D), zeros filled in, made for one window; gradients reach the stored entries alone."""
        return _Matrix.apply(self.vocabulary_size, self.bands, *self.blocks)  # type: ignore[no-any-return, no-untyped-call]

    def axes(self, vocabulary_width: str, embedding_width: str) -> AxisTable:
        """The axes of each block, which run along parts of both widths."""
        table: AxisTable = {}
        offsets = accumulate((band.width for band in self.bands), initial=0)
        for index, ((start, width), first) in enumerate(zip(self.bands, offsets, strict=False)):
            words = Segment(start, self.vocabulary_size, self.vocabulary_size)
            entries = Segment(first, first + width, self.embedding_size)
            table[f"blocks.{index}"] = (
                Axis(vocabulary_width, role="reads", segment=words, removable=False),
                Axis(embedding_width, segment=entries),
            )
        return table

    def extra_repr(self) -> str:
        """The layout, for print."""
        stored = sum((self.vocabulary_size - start) * width for start, width in self.bands)
        whole = self.vocabulary_size * self.embedding_size
        starts = ", ".join(str(start) for start, _ in self.bands)
        return f"{self.vocabulary_size} words, {self.embedding_size} wide, {stored / whole:.1%} stored, from {starts}"


class _Matrix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vocabulary_size: int, bands: Sequence[Band], *blocks: Tensor) -> Tensor:
        ctx.bands = bands
        matrix = blocks[0].new_zeros(vocabulary_size, sum(width for _, width in bands))
        for part, block, (start, _) in zip(matrix.split([width for _, width in bands], 1), blocks, bands, strict=True):
            part[start:] = block
        return matrix

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        parts = gradient.split([width for _, width in ctx.bands], 1)
        return None, None, *(part[start:].contiguous() for part, (start, _) in zip(parts, ctx.bands, strict=True))
