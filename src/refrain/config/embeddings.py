"""The embedding: dense, or with predefined sparseness."""

from typing import Annotated, Literal

from pydantic import Field

from .values import ByName, Count, Density, Number, Settings, Whole


class DenseEmbedding(Settings):
    """Every word has a vector of the full width."""

    kind: Literal["dense"] = "dense"


class SparseEmbedding(Settings):
    """Words with a low id have vectors of the full width, later words have shorter ones."""

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


EmbeddingLayout = Annotated[DenseEmbedding | SparseEmbedding | BandedEmbedding, Field(discriminator="kind"), ByName]
TaggerEmbeddingLayout = Annotated[DenseEmbedding | SparseEmbedding, Field(discriminator="kind"), ByName]
