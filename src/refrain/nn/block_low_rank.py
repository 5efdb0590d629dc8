"""Word vectors in bands of words, each of which has a rank of its own: rare words have short vectors.

A band of words, mostly of similar frequency, has a matrix of one row for each word, R wide, and a projection from R to
the width D of the embedding (Chen et al., 2018, GroupReduce: block-wise low-rank approximation, NeurIPS, section 3.1;
trained from the start: Baevski & Auli, 2019, Adaptive input representations for neural language modeling, ICLR,
section 3). Ids are those of a vocabulary in the order of frequency, so that a band is a range of ids.

V words in the vocabulary, D embedding width, R rank of a band, which may differ from band to band.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refrain.axes import Axis, AxisTable, Segment
from refrain.nn.step_graph.builder import GraphBuilder, Value

from .dropout import EmbeddingDropout
from .given_module import WORD_DROPOUT, check_module
from .ids import check_ids


class LowRankBand(NamedTuple):
    """The words from id `start` up to the start of the next band, or to the end of the vocabulary.

    Attributes:
        start: the first id.
        rank: the width of the words' rows; None for rows of the full width, which no projection reads.
    """

    start: int
    rank: int | None


class BlockLowRankEmbedding(nn.Module):
    """Looks up a vector for each token: the row of its word, times the projection of the band.

    Args:
        vocabulary_size: V.
        embedding_size: D.
        bands: at least one, ascending; the first starts at id 0.
        word_dropout: maps the vectors, their ids and V to the vectors used, for example `EmbeddingDropout(0.1)`.

    Raises:
        ValueError: when a size is not positive, the bands do not fit the vocabulary, or `word_dropout` is no module.
    """

    def __init__(
        self,
        vocabulary_size: int,
        embedding_size: int,
        bands: Sequence[LowRankBand],
        *,
        word_dropout: EmbeddingDropout | None = None,
    ) -> None:
        super().__init__()
        if vocabulary_size < 1 or embedding_size < 1:
            raise ValueError(f"BlockLowRankEmbedding sizes must be positive, got {vocabulary_size=}, {embedding_size=}")
        self.vocabulary_size = vocabulary_size
        self.embedding_size = embedding_size
        self.bands = checked_bands(vocabulary_size, bands)
        self.blocks = new_blocks(vocabulary_size, embedding_size, self.bands)
        # by the index of the band
        self.projections = nn.ParameterDict(
            {name: nn.Parameter(torch.empty(embedding_size, rank)) for name, rank in ranks(self.bands).items()}
        )
        check_module("word_dropout", word_dropout, WORD_DROPOUT)
        self.word_dropout = word_dropout
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw rows and projections so that vectors have the variance of entries from U(-0.1, 0.1). In place.

        Rows are drawn from U(-0.1, 0.1), and projections from U(-a, a) with a = sqrt(3 / R).
        """
        for block in self.blocks:
            nn.init.uniform_(block, -0.1, 0.1)
        for projection in self.projections.values():
            bound = (3 / projection.shape[1]) ** 0.5
            nn.init.uniform_(projection, -bound, bound)

    def forward(self, ids: Tensor) -> Tensor:
        """ids of any shape, int64 in [0, V) -> vectors of that shape with D appended.

        Raises:
            IndexError: when an id on a CPU is not in [0, V).
        """
        check_ids("ids", ids, self.vocabulary_size)
        parts = []
        for name, block, (start, end) in self._each():
            inside = (ids >= start) & (ids < end)
            rows = F.embedding((ids - start).clamp(0, end - start - 1), block) * inside[..., None]
            parts.append(F.linear(rows, self.projections[name]) if name in self.projections else rows)
        vectors = sum(parts[1:], parts[0])
        return vectors if self.word_dropout is None else self.word_dropout(vectors, ids, self.vocabulary_size)

    def describe(self, build: GraphBuilder, ids: Value) -> Value:
        """The lookup as operations; see `Describable`."""
        parts = []
        for name, block, (start, end) in self._each():
            part = build.gather(ids, build.weight(f"blocks.{name}", block), start, end)
            if name in self.projections:
                part = part @ build.weight(f"projections.{name}", self.projections[name]).T
            parts.append(part)
        return sum(parts[1:], parts[0])

    def _each(self) -> Iterator[tuple[str, Tensor, tuple[int, int]]]:
        """For each band its index as text, its rows, the first id and the one after the last."""
        for index, (block, ids) in enumerate(zip(self.blocks, edges(self.vocabulary_size, self.bands), strict=True)):
            yield str(index), block, ids

    @property
    def inner_widths(self) -> tuple[str, ...]:
        """The rank of each band that has a projection."""
        return tuple(width for width in rank_widths(self.bands) if width is not None)

    def axes(self, vocabulary_width: str, embedding_width: str, **inner: str) -> AxisTable:
        """The axes of each matrix, under the width names that the model chose.

        Args:
            vocabulary_width: the name of the vocabulary size, of which each block has a part.
            embedding_width: the name of the width of the vectors.
            **inner: a name for each of `inner_widths`.
        """
        widths = zip(rank_widths(self.bands), edges(self.vocabulary_size, self.bands), strict=True)
        table: AxisTable = {}
        for index, (width, (start, end)) in enumerate(widths):
            words = Axis(
                vocabulary_width, role="reads", segment=Segment(start, end, self.vocabulary_size), removable=False
            )
            table[f"blocks.{index}"] = (words, Axis(embedding_width if width is None else inner.get(width, width)))
        for name in self.projections:
            table[f"projections.{name}"] = (Axis(embedding_width), table[f"blocks.{name}"][1]._replace(role="reads"))
        return table

    def extra_repr(self) -> str:
        """The sizes, for print."""
        return f"{self.vocabulary_size}, {self.embedding_size}, {printed_bands(self.bands)}"


def checked_bands(vocabulary_size: int, bands: Iterable[tuple[int, int | None]]) -> tuple[LowRankBand, ...]:
    """Check that bands fit a vocabulary, and return them.

    Args:
        vocabulary_size: V.
        bands: pairs of the first id and the rank.

    Raises:
        ValueError: when they do not; the message says what is expected.
    """
    found = tuple(LowRankBand(*band) for band in bands)
    starts = [band.start for band in found]
    if not starts or starts[0] != 0 or starts != sorted(set(starts)):
        raise ValueError(f"bands must ascend from word 0, each with another first word (got {starts})")
    if starts[-1] >= vocabulary_size:
        raise ValueError(f"bands: the last one starts at word {starts[-1]:,}, but there are {vocabulary_size:,} words")
    if any(band.rank is not None and band.rank < 1 for band in found):
        raise ValueError(f"bands: ranks must be positive (got {[band.rank for band in found]})")
    return found


def edges(vocabulary_size: int, bands: Sequence[LowRankBand]) -> Iterator[tuple[int, int]]:
    """The first id of each band, and the one after its last."""
    return pairwise([*(band.start for band in bands), vocabulary_size])


def ranks(bands: Sequence[LowRankBand]) -> dict[str, int]:
    """The index of each band that has a projection, as text, and its rank."""
    return {str(index): band.rank for index, band in enumerate(bands) if band.rank is not None}


def rank_widths(bands: Sequence[LowRankBand]) -> list[str | None]:
    """What layers call the rank of each band; None for rows of the full width."""
    return [None if band.rank is None else f"rank{index}" for index, band in enumerate(bands)]


def block_shapes(vocabulary_size: int, width: int, bands: Sequence[LowRankBand]) -> list[tuple[int, int]]:
    """The shape of the rows of each band: words, and R or the full width."""
    pairs = zip(bands, edges(vocabulary_size, bands), strict=True)
    return [(end - start, width if band.rank is None else band.rank) for band, (start, end) in pairs]


def new_blocks(vocabulary_size: int, width: int, bands: Sequence[LowRankBand]) -> nn.ParameterList:
    """The rows of each band, without values."""
    return nn.ParameterList(nn.Parameter(torch.empty(shape)) for shape in block_shapes(vocabulary_size, width, bands))


def printed_bands(bands: Sequence[LowRankBand]) -> str:
    """Bands as they are written on a command line: 0:100,1000:50."""
    return ",".join(f"{start}:{'full' if rank is None else rank}" for start, rank in bands)
