"""Model settings -> the plans of predefined sparseness."""

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
    """The plan of each layer, from the bottom up; None for one that is dense.

    Args:
        settings: of the model.

    Raises:
        UserError: when a layer cannot be planned.
    """
    sizes = list(zip((settings.embedding_size, *settings.hidden_sizes), settings.hidden_sizes, strict=False))
    if not isinstance(settings.cell, SparseLSTMCell):
        return [None] * len(sizes)
    plan = settings.cell.plan
    if isinstance(plan, ExplicitPlan):
        given = zip(sizes, plan.layers, strict=True)
        place = "model.cell.plan.layers: "
        return [_planned(place, plan_from, inputs, blocks) if blocks else None for (inputs, _), blocks in given]
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
    """The plan of a layer whose blocks are of equal size.

    Args:
        settings: how many blocks, and what share of the inputs each sees.
        inputs: I.
        units: H.

    Raises:
        UserError: when the layer cannot be planned.
    """
    planned: SparsePlan = _planned(
        "model.cell.plan.", plan_blocks, inputs, units, blocks=settings.blocks, density=settings.density
    )
    return planned


def embedding_bands(settings: Model | TaggerModel, vocabulary_size: int) -> tuple[Band, ...] | None:
    """The blocks of the embedding, or None where it is dense.

    Args:
        settings: of the model.
        vocabulary_size: V.

    Raises:
        UserError: when it cannot be planned.
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


def _planned(place: str, plan: Callable[..., Any], *sizes: Any, **layout: Any) -> Any:
    try:
        return plan(*sizes, **layout)
    except ValueError as error:
        raise UserError(f"{place}{error}") from None
