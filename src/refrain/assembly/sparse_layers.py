"""Plans sparse layers and embeddings (predefined sparseness) from model settings."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from refrain.config import (
    BandedEmbedding,
    ExplicitPlan,
    Model,
    SparseEmbedding,
    SparseLSTMCell,
    TaggerModel,
    UniformPlan,
)
from refrain.errors import UserError
from refrain.nn import Band, SparsePlan, plan_bands, plan_blocks, plan_reduction
from refrain.nn.segments import plan_from


def layer_plans(settings: Model) -> list[SparsePlan | None]:
    """Plan each layer, from the bottom up; None for a dense layer.

    Args:
        settings: the settings of the model.

    Raises:
        UserError: when a layer cannot be planned.
    """
    sizes = list(zip((settings.embedding_size, *settings.hidden_sizes), settings.hidden_sizes, strict=False))
    if not isinstance(settings.cell, SparseLSTMCell):
        return [None] * len(sizes)
    plan = settings.cell.plan
    if isinstance(plan, ExplicitPlan):
        given = zip(sizes, plan.layers, strict=True)
        setting = "model.cell.plan.layers: "
        return [_planned(setting, plan_from, inputs, blocks) if blocks else None for (inputs, _), blocks in given]
    if isinstance(plan, UniformPlan):
        return [uniform_plan(plan, *size) for size in sizes]
    whole, fraction = 1.0, plan.fraction
    outer = whole if plan.of == "hidden" else fraction
    inner = whole if plan.of == "embedding" else fraction
    shares = list(pairwise([outer, *[inner] * (len(sizes) - 1), outer]))
    return [
        None
        if a == b == 1
        else _planned(f"model.cell.plan.fraction: layer {index}: ", plan_reduction, *size, reduce_in=a, reduce_out=b)
        for index, (size, (a, b)) in enumerate(zip(sizes, shares, strict=True))
    ]


def uniform_plan(settings: UniformPlan, inputs: int, units: int) -> SparsePlan:
    """Plan a layer with blocks of equal size.

    Args:
        settings: the number of blocks, and the share of the inputs that each reads.
        inputs: I, the input width of the layer.
        units: H, the hidden width of the layer.

    Raises:
        UserError: when the layer cannot be planned.
    """
    planned: SparsePlan = _planned(
        "model.cell.plan.", plan_blocks, inputs, units, blocks=settings.blocks, density=settings.density
    )
    return planned


def embedding_bands(settings: Model | TaggerModel, vocabulary_size: int) -> tuple[Band, ...] | None:
    """Plan the bands of a sparse embedding; None for a dense embedding.

    Args:
        settings: the settings of the model.
        vocabulary_size: V, the number of words in the vocabulary.

    Raises:
        UserError: when the embedding cannot be planned.
    """
    layout = settings.embedding
    if isinstance(layout, BandedEmbedding):
        return tuple(Band(*band) for band in layout.bands)
    if not isinstance(layout, SparseEmbedding):
        return None
    planned: tuple[Band, ...] = _planned(
        "model.embedding.",
        plan_bands,
        vocabulary_size,
        settings.embedding_size,
        blocks=layout.blocks,
        density=layout.density,
    )
    return planned


def _planned(setting: str, plan: Callable[..., Any], *sizes: Any, **layout: Any) -> Any:
    try:
        return plan(*sizes, **layout)
    except ValueError as error:
        raise UserError(f"{setting}{error}") from None
