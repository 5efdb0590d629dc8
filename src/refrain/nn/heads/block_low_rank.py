"""The softmax head in bands of words, each of which has a rank of its own: rare words have short vectors.

The logits of the words of a band are W P h + b, with W of one row for each word, R wide, and a projection P from the
width D of h to R; the softmax is one over all words (Chen et al., 2018, GroupReduce: block-wise low-rank approximation,
NeurIPS, section 3.1). Unlike the clusters of an adaptive softmax (Grave et al., 2017), the bands only save parameters
and multiply-adds: every logit is computed.

N tokens (any leading shape), D input width, R rank of a band, V words in the vocabulary.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from refrain.axes import Axis, AxisTable, Segment
from refrain.nn.block_low_rank import (
    BlockLowRankEmbedding,
    LowRankBand,
    block_shapes,
    checked_bands,
    edges,
    new_blocks,
    printed_bands,
    rank_widths,
    ranks,
)
from refrain.nn.kernels.backend import TORCH
from refrain.nn.precision import widened
from refrain.nn.step_graph.builder import GraphBuilder, Value

from .linear_cross_entropy import (
    CHUNK_LOGITS,
    NATIVE_FROM,
    blocks_cross_entropy,
    largest_parameter,
    no_autocast,
    token_rows,
)


class BlockLowRankHead(nn.Module):
    """Two linear layers for each band, from D to R and from R to the words of the band, and a softmax over all.

    Args:
        input_size: D.
        vocabulary_size: V.
        bands: at least one, ascending; the first starts at id 0.
        embedding: an embedding of the same bands whose rows are shared, not its projections; None for rows of its own.

    Attributes:
        backend: what the head trains with.

    Raises:
        ValueError: when a size is not positive, the bands do not fit the vocabulary, or the embedding has others.
    """

    kernels = "softmax"
    backends = ("torch", "native")
    native_from = NATIVE_FROM

    def __init__(
        self,
        input_size: int,
        vocabulary_size: int,
        bands: Sequence[LowRankBand],
        *,
        embedding: BlockLowRankEmbedding | None = None,
    ) -> None:
        super().__init__()
        if min(input_size, vocabulary_size) < 1:
            raise ValueError(f"BlockLowRankHead sizes must be positive, got {input_size=}, {vocabulary_size=}")
        self.backend = TORCH
        self.bands = checked_bands(vocabulary_size, bands)
        self.input_size = input_size
        self.vocabulary_size = vocabulary_size
        self.tied = embedding is not None
        self.blocks = new_blocks(vocabulary_size, input_size, self.bands) if embedding is None else embedding.blocks
        shapes = block_shapes(vocabulary_size, input_size, self.bands)
        if (found := [tuple(block.shape) for block in self.blocks]) != shapes:
            raise ValueError(f"a tied head needs an embedding with blocks of shapes {shapes}, got {found}")
        # by the index of the band
        self.projections = nn.ParameterDict(
            {name: nn.Parameter(torch.empty(rank, input_size)) for name, rank in ranks(self.bands).items()}
        )
        self.bias = nn.Parameter(torch.empty(vocabulary_size))
        self.reset_parameters()

    @property
    def native_size(self) -> int:
        """The size of the largest weight, to which `native_from` refers."""
        return largest_parameter(self)

    @property
    def inner_widths(self) -> tuple[str, ...]:
        """The rank of each band that has a projection."""
        return tuple(width for width in rank_widths(self.bands) if width is not None)

    @property
    def tied_width(self) -> str | None:
        """Which rows the head shares with an embedding: `input` if some have the full width, otherwise `ranks`."""
        if not self.tied:
            return None
        return "input" if any(band.rank is None for band in self.bands) else "ranks"

    def reset_parameters(self) -> None:
        """Draw projections from U(-1/sqrt(D), 1/sqrt(D)), rows of its own likewise by R; the bias is 0. In place."""
        own = [*self.projections.values(), *([] if self.tied else self.blocks)]
        for parameter in own:
            bound = 1 / math.sqrt(parameter.shape[1])
            nn.init.uniform_(parameter, -bound, bound)
        nn.init.zeros_(self.bias)

    def projected(self, hidden: Tensor) -> list[Tensor]:
        """hidden (..., D) -> what the rows of each band are multiplied with (..., R)."""
        hidden = hidden.to(self.bias.dtype)
        names = map(str, range(len(self.bands)))
        return [
            nn.functional.linear(hidden, self.projections[name]) if name in self.projections else hidden
            for name in names
        ]

    def forward(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """hidden (..., D), targets (...) -> the sum of the targets' nats, a scalar with a gradient."""
        backend = self.backend if self.training else TORCH
        rows, words = token_rows(hidden, targets)
        return blocks_cross_entropy(self.projected(rows), list(self.blocks), self.bias, words, backend=backend)

    def token_nats(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """hidden (..., D), targets (...) -> the nats of each target, in the shape of targets, without a gradient."""
        rows = max(1, CHUNK_LOGITS // self.vocabulary_size)
        with torch.no_grad(), no_autocast(self.bias):
            nats = []
            for h, words in zip(*(part.split(rows) for part in token_rows(hidden, targets)), strict=True):
                logits = widened(self.logits(h))
                nats.append(torch.logsumexp(logits, dim=-1) - logits.gather(1, words[:, None])[:, 0])
            return torch.cat(nats).reshape(targets.shape)

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden (..., D) -> logits (..., V)."""
        pairs = zip(self.projected(hidden), self.blocks, strict=True)
        return torch.cat([nn.functional.linear(part, block) for part, block in pairs], -1) + self.bias

    def log_probabilities(self, hidden: Tensor) -> Tensor:
        """hidden (..., D) -> natural log-probabilities (..., V)."""
        return widened(self.logits(hidden)).log_softmax(dim=-1)

    def describe(self, build: GraphBuilder, hidden: Value) -> Value:
        """The log-probabilities as operations; see `Describable`."""
        parts = []
        for index, block in enumerate(self.blocks):
            name, part = str(index), hidden
            if name in self.projections:
                part = hidden @ build.weight(f"projections.{name}", self.projections[name]).T
            parts.append(part @ build.weight(f"blocks.{name}", block).T)
        return (build.concat(parts) + build.weight("bias", self.bias)).log_softmax()

    def axes(self, input_width: str, vocabulary_width: str, **inner: str) -> AxisTable:
        """The axes of each parameter.

        Args:
            input_width: the name of the width below.
            vocabulary_width: the name of the vocabulary size, of which each block has a part.
            **inner: a name for each of `inner_widths`.
        """
        widths = zip(rank_widths(self.bands), edges(self.vocabulary_size, self.bands), strict=True)
        table: AxisTable = {}
        for index, (width, (start, end)) in enumerate(widths):
            words = Axis(vocabulary_width, segment=Segment(start, end, self.vocabulary_size), removable=False)
            entries = Axis(input_width if width is None else inner.get(width, width), role="reads")
            table[f"blocks.{index}"] = (words, entries)
        for name in self.projections:
            rank = table[f"blocks.{name}"][1]._replace(role="writes")
            table[f"projections.{name}"] = (rank, Axis(input_width, role="reads"))
        return table | {"bias": (Axis(vocabulary_width, role="shifts", removable=False),)}

    def extra_repr(self) -> str:
        """The sizes, for print."""
        tied = ", tied" if self.tied else ""
        return f"{self.input_size}, {self.vocabulary_size}, {printed_bands(self.bands)}{tied}"
