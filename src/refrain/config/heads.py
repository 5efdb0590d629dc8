"""The output distributions of language models and taggers, and how weights are initialised."""

from typing import Annotated, Literal

from pydantic import Field

from .embeddings import RankBands
from .values import ByName, Count, Number, Positive, Rate, Settings


class Softmax(Settings):
    """One softmax over the vocabulary."""

    kind: Literal["softmax"] = "softmax"


class Mixture(Settings):
    """Mixture of softmaxes."""

    kind: Literal["mixture"] = "mixture"
    components: Annotated[int, Field(ge=2, lt=2**31), Number] = Field(description="Number of softmaxes.")
    latent_dropout: Rate | None = Field(
        None, description="Dropout rate on the vectors that enter the softmaxes; none: model.dropout."
    )


class LowRank(Settings):
    """A softmax over the vocabulary whose matrix has a low rank: the last layer's output is projected first."""

    kind: Literal["low-rank"] = "low-rank"
    rank: Count = Field(description="Width of the projected output; with tied, that of the embedding.")


class BlockLowRank(Settings):
    """A softmax over the vocabulary in bands of words, each with a rank of its own."""

    kind: Literal["block-low-rank"] = "block-low-rank"
    bands: RankBands = Field(
        description='For each band [first word, rank], ascending from word 0; rank "full" is the width of the last '
        "layer, without a projection. With tied, the bands of the embedding."
    )


class Adaptive(Settings):
    """Adaptive softmax: frequent words first, rarer words in clusters of smaller width."""

    kind: Literal["adaptive"] = "adaptive"
    cutoffs: Annotated[tuple[Count, ...], Field(min_length=1)] = Field(
        description="Word ids at which the clusters begin, ascending."
    )


Head = Annotated[Softmax | LowRank | BlockLowRank | Mixture | Adaptive, Field(discriminator="kind"), ByName]


class TagSoftmax(Settings):
    """One softmax over the tags for each word."""

    kind: Literal["softmax"] = "softmax"


class CRF(Settings):
    """Conditional random field: one distribution over the tag sequences of each sentence."""

    kind: Literal["crf"] = "crf"


TaggerHead = Annotated[TagSoftmax | CRF, Field(discriminator="kind"), ByName]


class StandardInit(Settings):
    """Each layer's own initialisation."""

    kind: Literal["standard"] = "standard"
    biases: Literal[1, 2] = Field(
        1,
        description="How many uniform draws are added up for the initial bias of a recurrent layer; 2: as in systems "
        "that are built on torch.nn.LSTM, which has two biases.",
    )


class UniformInit(Settings):
    """Every matrix and the head's bias is drawn from U(-scale, scale); recurrent biases are 0."""

    kind: Literal["uniform"] = "uniform"
    scale: Positive = Field(description="Half the width of the uniform distribution.")


class GlorotInit(Settings):
    """Every weight, biases too, is drawn from a normal distribution with variance 2 / (inputs + outputs)."""

    kind: Literal["glorot"] = "glorot"
    truncated: bool = Field(
        False,
        description="Draw nothing further from zero than twice the standard deviation, as glorot_normal_initializer of "
        "TensorFlow 1 does; what is drawn then has 0.88 of that standard deviation.",
    )


Init = Annotated[StandardInit | UniformInit | GlorotInit, Field(discriminator="kind"), ByName]
