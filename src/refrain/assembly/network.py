"""What the networks of language models and taggers have in common: cells, word vectors and dropout."""

from typing import Any

from torch import nn

from refrain import nn as layers
from refrain.config import Model, TaggerModel
from refrain.errors import UserError
from refrain.nn import Embedding, EmbeddingDropout, LockedDropout, SparseEmbedding

from .sparse_layers import embedding_bands


def layer_class(settings: Model | TaggerModel) -> Any:
    """The class of the recurrent layers, which the settings of the cell name.

    Args:
        settings: of the network.
    """
    return getattr(layers, settings.cell.layer)


def build_embedding(settings: Model | TaggerModel, words: int) -> Embedding | SparseEmbedding:
    """The word vectors, dense or sparse as the settings say.

    Args:
        settings: of the network.
        words: V.

    Raises:
        UserError: when the vocabulary does not allow the layout.
    """
    word_dropout = EmbeddingDropout(settings.word_dropout) if settings.word_dropout else None
    bands = embedding_bands(settings, words)
    if bands is None:
        return Embedding(words, settings.embedding_size, word_dropout=word_dropout)
    try:
        return SparseEmbedding(words, bands, word_dropout=word_dropout)
    except ValueError as error:
        raise UserError(f"model.embedding.bands: {error}") from None


def build_dropout(settings: Model | TaggerModel, rate: float | None) -> nn.Module | None:
    """Dropout between two parts of a network, or None where its rate is 0.

    Args:
        settings: the default rate, and how masks are drawn.
        rate: of this dropout; None is the default rate.
    """
    rate = settings.dropout if rate is None else rate
    if not rate:
        return None
    return LockedDropout(rate) if settings.dropout_mask == "locked" else nn.Dropout(rate)
