"""Builds language models from model settings."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import nn

from refrain.config import (
    Adaptive,
    BlockLowRank,
    Experiment,
    GlorotInit,
    LowRank,
    Mixture,
    Model,
    MultiplicativeLSTMCell,
    UniformInit,
)
from refrain.config import BlockLowRankEmbedding as BlockLowRankLayout
from refrain.data import Vocabulary
from refrain.data.units.protocol import CountsTokens
from refrain.errors import MachineError, UserError
from refrain.models import LanguageModel
from refrain.nn import (
    AdaptiveHead,
    BlockLowRankEmbedding,
    BlockLowRankHead,
    Embedding,
    EmbeddingDropout,
    LowRankBand,
    LowRankHead,
    MixtureHead,
    MultiplicativeLSTM,
    RecurrentStack,
    SoftmaxHead,
    SparseEmbedding,
    SparseLSTM,
    SparseSoftmaxHead,
    WeightDropout,
    WeightNorm,
)

from .network import build_dropout, build_embedding, draw_second_biases, layer_class, layer_options
from .sparse_layers import layer_plans


def build_language_model(experiment: Experiment, vocabulary: Vocabulary) -> LanguageModel:
    """Build the language model of an experiment, initialised from the global random generator.

    Args:
        experiment: the settings of the model, and of the reset of its state.
        vocabulary: the vocabulary of the corpus.

    Raises:
        UserError: when a setting does not fit the vocabulary.
    """
    model = build_model(experiment.model, len(vocabulary))
    if experiment.training.state == "reset-per-document":
        model.reset_before = vocabulary.line_end
    return model


def check_frequent_first(settings: Model, vocabulary: Vocabulary) -> None:
    """Check that the words of an adaptive head's short list are not those that occur less often.

    Args:
        settings: the settings of the model.
        vocabulary: the vocabulary of the corpus; one that does not know how often its tokens occur passes.

    Raises:
        UserError: when they are, as with a given vocabulary in another order.
    """
    counts = vocabulary.counts if isinstance(vocabulary, CountsTokens) else None
    if counts is None or not isinstance(settings.head, Adaptive):
        return
    cutoff = settings.head.cutoffs[0]
    frequent, rare = (sum(part) / max(len(part), 1) for part in (counts[:cutoff], counts[cutoff:]))
    if frequent < rare:
        raise UserError(
            f"model.head.cutoffs: words from {cutoff:,} on occur {rare:,.3g} times each, those before them "
            f"{frequent:,.3g} times, but the adaptive head needs frequent words first; choose a vocabulary in the "
            "order of frequency, or another model.head.kind"
        )


def build_model(settings: Model, vocabulary_size: int) -> LanguageModel:
    """Build a language model, initialised from the global random generator.

    Args:
        settings: the settings of the model.
        vocabulary_size: V, the number of tokens in the vocabulary.

    Raises:
        UserError: when a setting does not fit the vocabulary.
    """
    embedding = _embedding(settings, vocabulary_size)
    model = LanguageModel(
        embedding,
        RecurrentStack(
            _layers(settings), between=build_dropout(settings, settings.between_dropout, settings.between_dropout_mask)
        ),
        _head(settings, vocabulary_size, embedding if settings.tied else None),
        embedding_dropout=build_dropout(settings, settings.embedding_dropout, settings.embedding_dropout_mask),
        output_dropout=build_dropout(settings, settings.output_dropout, settings.output_dropout_mask),
    )
    if isinstance(settings.init, UniformInit):
        model.init_uniform(settings.init.scale)
    elif isinstance(settings.init, GlorotInit):
        model.init_glorot(truncated=settings.init.truncated)
    elif settings.init.biases == 2:
        draw_second_biases(model)
    return model


def _layers(settings: Model) -> list[nn.Module]:
    plans = layer_plans(settings)
    inner = settings.cell.intermediate_sizes if isinstance(settings.cell, MultiplicativeLSTMCell) else None
    sizes = zip(
        (settings.embedding_size, *settings.hidden_sizes),
        settings.hidden_sizes,
        inner or settings.hidden_sizes,
        strict=False,
    )
    return [
        SparseLSTM(plan, block=lambda i, h: _layer(settings, i, h, h)) if plan else _layer(settings, *each)
        for plan, each in zip(plans, sizes, strict=True)
    ]


def _layer(settings: Model, below: int, width: int, inner: int) -> Any:
    def transform(rows: int, *, on_inputs: bool) -> nn.Module:
        parts: list[nn.Module] = [WeightNorm(rows)] if settings.weight_norm else []
        if settings.weight_drop and (not on_inputs or settings.weight_drop_on == "kernel"):
            parts.append(WeightDropout(settings.weight_drop, granularity=settings.weight_drop_granularity))
        return parts[0] if len(parts) == 1 else nn.Sequential(*parts) if parts else nn.Identity()

    if settings.cell.kind == "multiplicative-lstm":
        return MultiplicativeLSTM(
            below,
            width,
            intermediate_size=inner,
            transforms={
                "weight_im": transform(inner, on_inputs=True),
                "weight_hm": transform(inner, on_inputs=False),
                "weight_ih": transform(4 * width, on_inputs=True),
                "weight_mh": transform(4 * width, on_inputs=False),
            },
        )
    layer = layer_class(settings)
    rows = layer.gates * width
    return layer(
        below,
        width,
        input_transform=transform(rows, on_inputs=True),
        recurrent_transform=transform(rows, on_inputs=False),
        **layer_options(settings),
    )


def _embedding(settings: Model, vocabulary_size: int) -> Embedding | SparseEmbedding | BlockLowRankEmbedding:
    if not isinstance(settings.embedding, BlockLowRankLayout):
        return build_embedding(settings, vocabulary_size)
    word_dropout = EmbeddingDropout(settings.word_dropout) if settings.word_dropout else None
    bands = _bands(settings.embedding.bands)
    try:
        return BlockLowRankEmbedding(vocabulary_size, settings.embedding_size, bands, word_dropout=word_dropout)
    except ValueError as error:
        raise UserError(f"model.embedding.{error}") from None


def _bands(bands: Sequence[tuple[int, int | Literal["full"]]]) -> list[LowRankBand]:
    return [LowRankBand(start, None if rank == "full" else rank) for start, rank in bands]


def _head(
    settings: Model, vocabulary_size: int, embedding: Embedding | SparseEmbedding | BlockLowRankEmbedding | None
) -> SoftmaxHead | SparseSoftmaxHead | LowRankHead | BlockLowRankHead | MixtureHead | AdaptiveHead:
    last = settings.hidden_sizes[-1]
    if isinstance(embedding, SparseEmbedding):
        return SparseSoftmaxHead(embedding)
    if isinstance(settings.head, BlockLowRank):
        shared = embedding if isinstance(embedding, BlockLowRankEmbedding) else None
        try:
            return BlockLowRankHead(last, vocabulary_size, _bands(settings.head.bands), embedding=shared)
        except ValueError as error:
            raise UserError(f"model.head.{error}") from None
    assert not isinstance(embedding, BlockLowRankEmbedding)
    weight = None if embedding is None else embedding.weight
    if isinstance(settings.head, LowRank):
        return LowRankHead(last, settings.head.rank, vocabulary_size, weight=weight)
    if isinstance(settings.head, Mixture):
        return MixtureHead(
            last,
            settings.embedding_size,
            vocabulary_size,
            components=settings.head.components,
            weight=weight,
            latent_dropout=build_dropout(settings, settings.head.latent_dropout),
        )
    if isinstance(settings.head, Adaptive):
        try:
            return AdaptiveHead(last, vocabulary_size, cutoffs=settings.head.cutoffs)
        except ValueError as error:
            raise UserError(f"model.head.{error}") from None
    return SoftmaxHead(last, vocabulary_size, weight=weight)


def build_device(name: str) -> torch.device:
    """The device of a setting; `auto` is a CUDA device if there is one, otherwise the CPU.

    Disables TF32 and reductions in bfloat16 for CUDA devices.

    Raises:
        MachineError: when CUDA is requested and not available.
        UserError: when the device is neither a CPU nor a CUDA device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UserError(f"device: {name!r} is unknown; use 'cpu', 'cuda' or 'auto'")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise MachineError(f"device: no CUDA device {name!r} is available; use 'cpu' or 'auto'")
    if device.type == "cuda":
        # otherwise cuDNN would round float32 inputs of an LSTM to TF32, and matmuls would accumulate bf16 sums in bf16
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    return device
