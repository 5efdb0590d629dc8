"""Model settings -> network."""

import torch
from torch import nn

from refrain.config import Model
from refrain.errors import UserError
from refrain.models import LanguageModel
from refrain.nn import (
    GRU,
    LSTM,
    AdaptiveHead,
    Embedding,
    EmbeddingDropout,
    LockedDropout,
    MixtureHead,
    RecurrentStack,
    SoftmaxHead,
    WeightDropout,
)

CELLS = {"lstm": LSTM, "gru": GRU}


def build_model(settings: Model, vocabulary_size: int) -> LanguageModel:
    """The network, freshly initialised from the global generator.

    Args:
        settings: its shape.
        vocabulary_size: V.

    Raises:
        UserError: when a setting does not fit the vocabulary.
    """
    word_dropout = EmbeddingDropout(settings.word_dropout) if settings.word_dropout else None
    embedding = Embedding(vocabulary_size, settings.embedding_size, word_dropout=word_dropout)
    inputs = (settings.embedding_size, *settings.hidden_sizes)
    layers = [_layer(settings, below, width) for below, width in zip(inputs, settings.hidden_sizes, strict=False)]
    model = LanguageModel(
        embedding,
        RecurrentStack(layers, between=_dropout(settings, settings.between_dropout)),
        _head(settings, vocabulary_size, embedding.weight if settings.tied else None),
        embedding_dropout=_dropout(settings, settings.embedding_dropout),
        output_dropout=_dropout(settings, settings.output_dropout),
    )
    if settings.init_scale is not None:
        model.init_uniform(settings.init_scale)
    return model


def _layer(settings: Model, below: int, width: int) -> nn.Module:
    def drop() -> nn.Module:
        return WeightDropout(settings.weight_drop, granularity=settings.weight_drop_granularity)

    if not settings.weight_drop:
        return CELLS[settings.cell](below, width)
    on_inputs = drop() if settings.weight_drop_on == "kernel" else None
    return CELLS[settings.cell](below, width, input_transform=on_inputs, recurrent_transform=drop())


def _head(
    settings: Model, vocabulary_size: int, weight: nn.Parameter | None
) -> SoftmaxHead | MixtureHead | AdaptiveHead:
    last = settings.hidden_sizes[-1]
    if settings.head == "mixture":
        assert settings.components is not None
        return MixtureHead(
            last,
            settings.embedding_size,
            vocabulary_size,
            components=settings.components,
            weight=weight,
            latent_dropout=_dropout(settings, settings.latent_dropout),
        )
    if settings.head == "adaptive":
        assert settings.cutoffs is not None
        try:
            return AdaptiveHead(last, vocabulary_size, cutoffs=settings.cutoffs)
        except ValueError as error:
            raise UserError(f"model.{error}") from None
    return SoftmaxHead(last, vocabulary_size, weight=weight)


def _dropout(settings: Model, rate: float | None) -> nn.Module | None:
    rate = settings.dropout if rate is None else rate
    if not rate:
        return None
    return LockedDropout(rate) if settings.dropout_kind == "locked" else nn.Dropout(rate)


def build_device(name: str) -> torch.device:
    """The device of a setting: `auto` takes a CUDA device where there is one.

    Raises:
        UserError: when CUDA was asked for and is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("training.device: no CUDA device is available; use 'cpu' or 'auto'")
    return torch.device(name)
