"""Builds the modules that language models and taggers share: recurrent cells, embeddings and dropout."""

from typing import Any, Literal

from torch import nn

from refrain import nn as layers
from refrain.config import GRUCell, Model, TaggerModel
from refrain.errors import UserError
from refrain.nn import Dropout, Embedding, EmbeddingDropout, LockedDropout, SparseEmbedding

from .sparse_layers import embedding_bands


def layer_class(settings: Model | TaggerModel) -> Any:
    """The class of the recurrent layers.

    Args:
        settings: the settings of the network, whose cell names the class.
    """
    return getattr(layers, settings.cell.layer)


def layer_options(settings: Model | TaggerModel) -> dict[str, Any]:
    """The arguments of the recurrent layers that only their class has.

    Args:
        settings: the settings of the network.
    """
    return {"recurrent_bias": settings.cell.recurrent_bias} if isinstance(settings.cell, GRUCell) else {}


def build_embedding(settings: Model | TaggerModel, words: int) -> Embedding | SparseEmbedding:
    """Build the dense or sparse embedding.

    Args:
        settings: the settings of the network.
        words: V, the number of words in the vocabulary.

    Raises:
        UserError: when the sparse layout does not fit the vocabulary.
    """
    word_dropout = EmbeddingDropout(settings.word_dropout) if settings.word_dropout else None
    bands = embedding_bands(settings, words)
    if bands is None:
        return Embedding(words, settings.embedding_size, word_dropout=word_dropout)
    try:
        return SparseEmbedding(words, bands, word_dropout=word_dropout)
    except ValueError as error:
        raise UserError(f"model.embedding.bands: {error}") from None


def draw_second_biases(network: nn.Module) -> None:
    """Draw the bias of each recurrent layer as the sum of two. Changes the biases in place.

    Args:
        network: a network with initial weights.
    """
    for module in network.modules():
        if isinstance(module, layers.LSTM | layers.GRU | layers.MultiplicativeLSTM):
            module.add_second_bias()


def build_dropout(
    settings: Model | TaggerModel, rate: float | None, mask: Literal["plain", "locked"] | None = None
) -> nn.Module | None:
    """Build a dropout module, or return None if its rate is 0.

    Args:
        settings: the settings of the network, with the default rate and the default type of the masks.
        rate: the rate of this module; None is the default rate.
        mask: the type of this module's masks; None is the default type.
    """
    rate = settings.dropout if rate is None else rate
    if not rate:
        return None
    return LockedDropout(rate) if (mask or settings.dropout_mask) == "locked" else Dropout(rate)
