"""The recurrent layer, one class for each architecture with the settings that only it has.

`layer` is the name of the class in `refrain.nn` that the settings describe; a sparse LSTM is made of LSTMs.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from .values import ByName, Count, Density, Number, Settings, Whole, Width


class LSTMCell(Settings):
    """Long short-term memory."""

    layer: ClassVar[str] = "LSTM"
    kind: Literal["lstm"] = "lstm"


class GRUCell(Settings):
    """Gated recurrent unit."""

    layer: ClassVar[str] = "GRU"
    kind: Literal["gru"] = "gru"
    recurrent_bias: bool = Field(
        False,
        description="A second bias of the candidate, which the reset gate multiplies, as in torch.nn.GRU and cuDNN.",
    )


class MultiplicativeLSTMCell(Settings):
    """Multiplicative LSTM."""

    layer: ClassVar[str] = "MultiplicativeLSTM"
    kind: Literal["multiplicative-lstm"] = "multiplicative-lstm"
    intermediate_sizes: tuple[Width, ...] | None = Field(
        None,
        description="Width of each layer's intermediate state, from the bottom up; none: the same as hidden_sizes.",
    )


class FractionPlan(Settings):
    """Blocks with as many weights as a dense layer of a fraction of the width would have."""

    kind: Literal["fraction"] = "fraction"
    fraction: Density = Field(
        description="Width of the dense layer of equal size, as a fraction of this layer's width."
    )
    of: Literal["hidden", "embedding", "all"] = Field(
        "hidden",
        description="Which widths the fraction applies to: those between recurrent layers (hidden), those at the "
        "embedding and the head (embedding), or all of them.",
    )


class UniformPlan(Settings):
    """Blocks of equal size."""

    kind: Literal["uniform"] = "uniform"
    blocks: Annotated[int, Field(ge=2, lt=2**31), Number] = Field(description="Number of small LSTMs in each layer.")
    density: Density = Field(description="Fraction of the layer's inputs that each small LSTM reads.")


class ExplicitPlan(Settings):
    """Blocks that are given one by one, as refrain compress writes them."""

    kind: Literal["explicit"] = "explicit"
    layers: Annotated[tuple[tuple[tuple[Whole, Count, Count], ...], ...], Field(min_length=1)] = Field(
        description="For each layer a list of blocks [first input, end of inputs, units]; an empty list is a dense "
        "layer."
    )


Plan = Annotated[FractionPlan | UniformPlan | ExplicitPlan, Field(discriminator="kind"), ByName]


class SparseLSTMCell(Settings):
    """LSTM layers with predefined sparseness: each layer is several small LSTMs that read a part of its inputs."""

    layer: ClassVar[str] = "LSTM"
    kind: Literal["sparse-lstm"] = "sparse-lstm"
    plan: Plan = Field(description="How the small LSTMs of a layer are laid out.")


class UniformSparseLSTMCell(Settings):
    """LSTM layer with predefined sparseness: in each direction, several small LSTMs that read a part of its inputs."""

    layer: ClassVar[str] = "LSTM"
    kind: Literal["sparse-lstm"] = "sparse-lstm"
    plan: Annotated[UniformPlan, ByName] = Field(description="How the small LSTMs of the layer are laid out.")


Cell = Annotated[LSTMCell | GRUCell | MultiplicativeLSTMCell | SparseLSTMCell, Field(discriminator="kind"), ByName]
TaggerCell = Annotated[LSTMCell | GRUCell | UniformSparseLSTMCell, Field(discriminator="kind"), ByName]
