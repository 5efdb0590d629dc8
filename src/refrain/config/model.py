"""The shape of a language model, as plain values."""

from typing import Literal, Self

from pydantic import Field, model_validator

from .cells import Cell, ExplicitPlan, LSTMCell, MultiplicativeLSTMCell, SparseLSTMCell
from .embeddings import BandedEmbedding, BlockLowRankEmbedding, DenseEmbedding, EmbeddingLayout
from .heads import BlockLowRank, Head, Init, LowRank, Mixture, Softmax, StandardInit
from .network import Network


class Model(Network):
    """The shape of the network."""

    cell: Cell = Field(LSTMCell(), description="The recurrent layer.")
    embedding: EmbeddingLayout = Field(DenseEmbedding(), description="Which entries of the word vectors are stored.")
    weight_drop_on: Literal["recurrent", "kernel"] = Field(
        "recurrent",
        description="Which weights weight_drop acts on: hidden-to-hidden (recurrent), or input-to-hidden as well "
        "(kernel).",
    )
    weight_drop_granularity: Literal["entry", "row"] = Field(
        "entry", description="What weight_drop drops: single entries, or whole rows, one for each gate of each unit."
    )
    weight_norm: bool = Field(
        False, description="Normalise the rows of the recurrent layers' matrices and train a gain for each row."
    )
    head: Head = Field(Softmax(), description="The output distribution over words.")
    tied: bool = Field(False, description="Let the head share the embedding's weight.")
    init: Init = Field(StandardInit(), description="How weights are initialised.")

    def rates(self) -> list[float | None]:
        """The rate at each of the network's dropout layers; None where `dropout` applies."""
        return super().rates() + ([self.head.latent_dropout] if isinstance(self.head, Mixture) else [])

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        if self.tied and self.head.kind == "adaptive":
            raise ValueError("tied: cannot take effect with the adaptive head")
        if self.tied and "block-low-rank" in (self.head.kind, self.embedding.kind):
            self._check_tied_bands()
        elif self.tied and self.head.kind != "softmax" and self.embedding.kind != "dense":
            raise ValueError(
                f"tied: a sparse embedding can be shared with a softmax head only (head is {self.head.kind!r})"
            )
        if self.tied and isinstance(self.head, LowRank) and self.head.rank != self.embedding_size:
            raise ValueError(
                f"tied: needs embedding_size equal to head.rank (got {self.embedding_size} and {self.head.rank})"
            )
        if self.tied and self.head.kind == "softmax" and self.embedding_size != self.hidden_sizes[-1]:
            raise ValueError(
                f"tied: needs embedding_size equal to the last of hidden_sizes "
                f"(got {self.embedding_size} and {self.hidden_sizes[-1]})"
            )
        if self.init.kind == "uniform" and self.weight_norm:
            raise ValueError("init: 'uniform' does not initialise the gains of weight_norm; use 'standard' or 'glorot'")
        if not self.weight_drop and (self.weight_drop_on != "recurrent" or self.weight_drop_granularity != "entry"):
            name = "weight_drop_on" if self.weight_drop_on != "recurrent" else "weight_drop_granularity"
            raise ValueError(f"{name}: cannot take effect where weight_drop is 0")
        return self

    def _check_tied_bands(self) -> None:
        embedding, head = self.embedding, self.head
        if not (isinstance(embedding, BlockLowRankEmbedding) and isinstance(head, BlockLowRank)):
            raise ValueError(
                "tied: a block-low-rank embedding and a block-low-rank head can be shared with each other only "
                f"(embedding is {embedding.kind!r}, head is {head.kind!r})"
            )
        if embedding.bands != head.bands:
            raise ValueError("tied: needs embedding.bands equal to head.bands")
        has_full = any(rank == "full" for _, rank in head.bands)
        if has_full and self.embedding_size != self.hidden_sizes[-1]:
            raise ValueError(
                'tied: a band of rank "full" needs embedding_size equal to the last of hidden_sizes '
                f"(got {self.embedding_size} and {self.hidden_sizes[-1]})"
            )

    @model_validator(mode="after")
    def _widths_fit(self) -> Self:
        inner = self.cell.intermediate_sizes if isinstance(self.cell, MultiplicativeLSTMCell) else None
        if inner is not None and len(inner) != len(self.hidden_sizes):
            raise ValueError(
                f"cell.intermediate_sizes: needs as many widths as hidden_sizes has "
                f"(got {len(inner)} and {len(self.hidden_sizes)})"
            )
        if isinstance(self.cell, SparseLSTMCell) and isinstance(self.cell.plan, ExplicitPlan):
            units = [sum(units for _, _, units in blocks) for blocks in self.cell.plan.layers]
            if len(units) != len(self.hidden_sizes) or any(
                count not in (0, size) for count, size in zip(units, self.hidden_sizes, strict=True)
            ):
                raise ValueError("cell.plan.layers: needs an entry for each of hidden_sizes, with as many units")
        bands = self.embedding.bands if isinstance(self.embedding, BandedEmbedding) else None
        if bands is not None and sum(width for _, width in bands) != self.embedding_size:
            raise ValueError("embedding.bands: their widths must sum up to embedding_size")
        return self
