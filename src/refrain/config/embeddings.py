"""The embedding: dense, with predefined sparseness, or with a rank for each band of words."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from .values import ByName, Count, Density, Number, Settings, Whole


class DenseEmbedding(Settings):
    """Every word has a vector of the full width."""

    kind: Literal["dense"] = "dense"


class SparseEmbedding(Settings):
    """Words with a high id have vectors of the full width, those before them have shorter ones."""

    kind: Literal["sparse"] = "sparse"
    blocks: Annotated[int, Field(ge=2, lt=2**31), Number] = Field(
        description="Number of different vector lengths; the first block of columns covers all words."
    )
    density: Density = Field(description="Fraction of the embedding's entries that are stored.")


class BandedEmbedding(Settings):
    """A sparse embedding whose blocks are given one by one, as refrain compress writes them."""

    kind: Literal["bands"] = "bands"
    bands: Annotated[tuple[tuple[Whole, Count], ...], Field(min_length=2)] = Field(
        description="For each block of columns [first word, width]."
    )


def _ascending(
    bands: "tuple[tuple[int, int | Literal['full']], ...]",
) -> "tuple[tuple[int, int | Literal['full']], ...]":
    starts = [start for start, _ in bands]
    if starts[0] != 0 or starts != sorted(set(starts)):
        raise PydanticCustomError("bands", "must ascend from word 0, each band with another first word")
    return bands


def _rank(value: Any) -> Any:
    # one message, where a union has one for each of its types
    if value != "full" and not (type(value) is int and 1 <= value < 2**31):
        raise PydanticCustomError("rank", 'must be a whole number of at least 1, or "full"')
    return value


Rank = Annotated[Count | Literal["full"], BeforeValidator(_rank)]
RankBands = Annotated[tuple[tuple[Whole, Rank], ...], Field(min_length=1), AfterValidator(_ascending)]
"""Bands of words: for each the id of its first word, and its rank."""


class BlockLowRankEmbedding(Settings):
    """Each band of words has vectors of a rank of its own, and a projection from the rank to the full width."""

    kind: Literal["block-low-rank"] = "block-low-rank"
    bands: RankBands = Field(
        description='For each band [first word, rank], ascending from word 0; rank "full" is the full width, without a '
        "projection."
    )


EmbeddingLayout = Annotated[
    DenseEmbedding | SparseEmbedding | BandedEmbedding | BlockLowRankEmbedding, Field(discriminator="kind"), ByName
]
TaggerEmbeddingLayout = Annotated[DenseEmbedding | SparseEmbedding, Field(discriminator="kind"), ByName]
