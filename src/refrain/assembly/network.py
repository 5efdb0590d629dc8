"""What the networks of language models and taggers have in common: cells, word vectors and dropout."""

from torch import nn

from refrain.config import Model, TaggerModel
from refrain.errors import UserError
from refrain.nn import GRU, LSTM, Embedding, EmbeddingDropout, LockedDropout, SparseEmbedding

from .sparse_layers import embedding_bands

CELLS: dict[str, type[LSTM] | type[GRU]] = {"lstm": LSTM, "sparse-lstm": LSTM, "gru": GRU}
"""Cells whose layers differ in nothing but their class; the layers of a sparse LSTM are made of LSTMs."""


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
