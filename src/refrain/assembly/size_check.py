"""Compares the sizes that settings ask for with the shapes of saved weights, before memory is allocated for a model.

The settings of a folder that came from elsewhere may ask for far more than its weights contain.
"""

from collections.abc import Callable, Mapping

import torch
from torch import nn

from refrain.config import Adaptive, BlockLowRank, BlockLowRankEmbedding, Model, TaggerModel
from refrain.config.cells import ExplicitPlan, SparseLSTMCell, UniformPlan, UniformSparseLSTMCell
from refrain.config.embeddings import BandedEmbedding, SparseEmbedding
from refrain.errors import CheckpointError
from refrain.training import load_weights

SLACK = 10
"""How many times more blocks than tensors are built, as blocks of a sparse embedding may be merged."""


def check_sizes(
    settings: Model | TaggerModel, build: Callable[[], nn.Module], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Check that a model has the saved weights, without memory for its own.

    Args:
        settings: the settings of the model.
        build: builds the model.
        shapes: the shape of each saved weight, by name.

    Raises:
        CheckpointError: when a name or a shape differs.
        UserError: when a setting does not fit the vocabulary.
    """
    parts = _parts(settings)
    if parts > SLACK * len(shapes) or len(settings.hidden_sizes) > len(shapes):
        # even the modules alone would take long to build
        raise CheckpointError(
            f"weights of another model: the settings ask for at least {parts:,} tensors, but {len(shapes):,} are saved"
        )
    try:
        with torch.device("meta"):
            load_weights(build(), {name: torch.empty(shape) for name, shape in shapes.items()})
    except (RuntimeError, OverflowError, TypeError) as error:
        # sizes whose product is not a 64-bit number
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"weights of another model: the settings ask for too large a one ({reason})") from None


def _parts(settings: Model | TaggerModel) -> int:
    """About the least number of tensors that a model has, from settings alone."""
    layers = len(settings.hidden_sizes)
    cell = settings.cell
    if isinstance(cell, SparseLSTMCell | UniformSparseLSTMCell):
        if isinstance(cell.plan, UniformPlan):
            layers *= cell.plan.blocks
        elif isinstance(cell.plan, ExplicitPlan):
            layers = sum(len(blocks) for blocks in cell.plan.layers)
    embedding = settings.embedding
    if isinstance(embedding, SparseEmbedding):
        layers += embedding.blocks
    if isinstance(embedding, BandedEmbedding | BlockLowRankEmbedding):
        layers += len(embedding.bands)
    if isinstance(settings, Model) and isinstance(settings.head, Adaptive):
        layers += len(settings.head.cutoffs)
    if isinstance(settings, Model) and isinstance(settings.head, BlockLowRank):
        layers += len(settings.head.bands)
    return layers
