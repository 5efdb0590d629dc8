"""The shape of the network, as plain values."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .values import Count, Density, Number, Positive, Rate, Settings, Whole, Width


class Model(Settings):
    """The shape of the network."""

    cell: Literal["lstm", "gru", "mlstm"] = Field(
        "lstm", description="the recurrent layer; mlstm is the multiplicative LSTM"
    )
    embedding_size: Width = Field(200, description="width of the word vectors")
    hidden_sizes: Annotated[tuple[Width, ...], Field(min_length=1)] = Field(
        (200, 200), description="width of each layer, from the bottom up"
    )
    intermediate_sizes: tuple[Width, ...] | None = Field(
        None, description="width of each mlstm layer's intermediate state; that of hidden_sizes if not given"
    )
    dropout: Rate = Field(0.0, description="rate of the dropout places that do not say otherwise")
    embedding_dropout: Rate | None = Field(None, description="rate after the embedding")
    between_dropout: Rate | None = Field(None, description="rate between layers")
    output_dropout: Rate | None = Field(None, description="rate before the head")
    dropout_kind: Literal["plain", "locked"] = Field(
        "plain", description="a fresh mask at every step, or one that is locked over the window"
    )
    word_dropout: Rate = Field(0.0, description="rate at which word types are dropped from the embedding")
    weight_drop: Rate = Field(0.0, description="rate at which recurrent weights are dropped, one mask a window")
    weight_drop_on: Literal["recurrent", "kernel"] = Field(
        "recurrent", description="the hidden-to-hidden weight, or the input-to-hidden weight as well"
    )
    weight_drop_granularity: Literal["entry", "row"] = Field(
        "entry", description="drop single entries, or all that goes into a gate of a unit"
    )
    sparse_layers: Literal["none", "hidden", "embedding", "all", "direct"] = Field(
        "none",
        description="which of a layer's inputs and units a sparse layer has fewer of: those that other layers see, "
        "those at the embedding and the head, or all, by sparse_fraction; direct: sparse_blocks and sparse_density",
    )
    sparse_fraction: Density | None = Field(
        None, description="share of the inputs and units that a dense layer of a sparse layer's size would have"
    )
    sparse_blocks: Annotated[int, Field(ge=2), Number] | None = Field(
        None, description="small LSTMs in each layer (direct)"
    )
    sparse_density: Density | None = Field(None, description="share of the inputs that each of them sees (direct)")
    layer_blocks: tuple[tuple[tuple[Whole, Count, Count], ...] | None, ...] | None = Field(
        None, description="for each layer nothing, or first input, end and units of each block; as compress writes them"
    )
    embedding_blocks: Count = Field(1, description="blocks of the embedding; those after the first cover later words")
    embedding_density: Density = Field(1.0, description="share of the embedding's entries that there are")
    embedding_bands: Annotated[tuple[tuple[Whole, Count], ...], Field(min_length=2)] | None = Field(
        None, description="first word and width of each block; as compress writes them"
    )
    weight_norm: bool = Field(
        False, description="weight norm on the recurrent layers' matrices, a gain for each output unit"
    )
    head: Literal["softmax", "mixture", "adaptive"] = Field("softmax", description="the distribution over words")
    components: Annotated[int, Field(ge=2)] | None = Field(None, description="softmaxes in the mixture")
    latent_dropout: Rate | None = Field(None, description="rate on the mixture's vectors")
    cutoffs: Annotated[tuple[Count, ...], Field(min_length=1)] | None = Field(
        None, description="ids at which the adaptive head's clusters begin"
    )
    tied: bool = Field(False, description="the head shares the embedding's weight")
    init: Literal["standard", "uniform", "glorot"] = Field(
        "standard",
        description="each layer's own initialisation, U(-init_scale, init_scale) throughout, or normal with variance "
        "2 / (inputs + outputs) throughout, vectors too",
    )
    init_scale: Positive | None = Field(None, description="half the width of the uniform initialisation")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.tied and self.head == "adaptive":
            raise ValueError("tied: cannot take effect with the adaptive head")
        if self.tied and self.head == "softmax" and self.embedding_size != self.hidden_sizes[-1]:
            raise ValueError(
                f"tied: needs embedding_size equal to the last of hidden_sizes "
                f"(got {self.embedding_size} and {self.hidden_sizes[-1]})"
            )
        if self.intermediate_sizes is not None and self.cell != "mlstm":
            raise ValueError(f"intermediate_sizes: cannot take effect where cell is {self.cell!r}")
        if self.intermediate_sizes is not None and len(self.intermediate_sizes) != len(self.hidden_sizes):
            raise ValueError(
                f"intermediate_sizes: needs as many widths as hidden_sizes has "
                f"(got {len(self.intermediate_sizes)} and {len(self.hidden_sizes)})"
            )
        if self.init == "uniform" and self.init_scale is None:
            raise ValueError("init_scale: must be given where init is 'uniform'")
        if self.init != "uniform" and self.init_scale is not None:
            raise ValueError(f"init_scale: cannot take effect where init is {self.init!r}")
        if self.init == "uniform" and self.weight_norm:
            raise ValueError("init: 'uniform' says nothing of the gains of weight_norm; use 'standard' or 'glorot'")
        if len(self.hidden_sizes) == 1 and self.between_dropout:
            raise ValueError("between_dropout: cannot take effect with a single layer")
        places = [self.embedding_dropout, self.output_dropout]
        if len(self.hidden_sizes) > 1:
            places.append(self.between_dropout)
        if self.head == "mixture":
            places.append(self.latent_dropout)
        if self.dropout and None not in places:
            raise ValueError("dropout: cannot take effect where every place has a rate of its own; set it to 0")
        if self.dropout_kind == "locked" and not self.dropout and not any(places):
            raise ValueError("dropout_kind: cannot take effect where nothing is dropped")
        return self

    @model_validator(mode="after")
    def _effective(self) -> Self:
        if not self.weight_drop and (self.weight_drop_on != "recurrent" or self.weight_drop_granularity != "entry"):
            name = "weight_drop_on" if self.weight_drop_on != "recurrent" else "weight_drop_granularity"
            raise ValueError(f"{name}: cannot take effect where weight_drop is 0")
        for name, head in (("components", "mixture"), ("cutoffs", "adaptive")):
            if self.head == head and getattr(self, name) is None:
                raise ValueError(f"{name}: must be given where head is {head!r}")
            if self.head != head and getattr(self, name) is not None:
                raise ValueError(f"{name}: cannot take effect where head is {self.head!r}")
        if self.head != "mixture" and self.latent_dropout is not None:
            raise ValueError(f"latent_dropout: cannot take effect where head is {self.head!r}")
        return self

    @model_validator(mode="after")
    def _sparse(self) -> Self:
        by_fraction, direct = self.sparse_layers in ("hidden", "embedding", "all"), self.sparse_layers == "direct"
        for name, wanted in (("sparse_fraction", by_fraction), ("sparse_blocks", direct), ("sparse_density", direct)):
            if wanted and getattr(self, name) is None:
                raise ValueError(f"{name}: must be given where sparse_layers is {self.sparse_layers!r}")
            if not wanted and getattr(self, name) is not None:
                raise ValueError(f"{name}: cannot take effect where sparse_layers is {self.sparse_layers!r}")
        if (self.sparse_layers != "none" or self.layer_blocks is not None) and self.cell != "lstm":
            raise ValueError(f"sparse_layers: cannot take effect where cell is {self.cell!r}; sparse layers are LSTMs")
        if self.layer_blocks is not None:
            if self.sparse_layers != "none":
                raise ValueError("layer_blocks: cannot be given beside sparse_layers")
            units = [sum(block[2] for block in blocks or ()) for blocks in self.layer_blocks]
            if len(units) != len(self.hidden_sizes) or any(
                blocks is not None and count != size
                for blocks, count, size in zip(self.layer_blocks, units, self.hidden_sizes, strict=True)
            ):
                raise ValueError("layer_blocks: needs an entry for each of hidden_sizes, with as many units")
        return self

    @model_validator(mode="after")
    def _sparse_embedding(self) -> Self:
        sparse = self.embedding_blocks > 1 or self.embedding_bands is not None
        if self.embedding_blocks == 1 and self.embedding_density != 1:
            raise ValueError("embedding_density: cannot take effect with a single block; raise embedding_blocks")
        if self.embedding_bands is not None and self.embedding_blocks > 1:
            raise ValueError("embedding_bands: cannot be given beside embedding_blocks")
        if self.embedding_bands is not None and sum(width for _, width in self.embedding_bands) != self.embedding_size:
            raise ValueError("embedding_bands: their widths must sum up to embedding_size")
        if sparse and self.tied and self.head != "softmax":
            raise ValueError(f"tied: a sparse embedding can be shared with a softmax head only (head is {self.head!r})")
        return self
