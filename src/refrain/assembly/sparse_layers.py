"""Model settings -> the plans of predefined sparseness."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from refrain.config import Model
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
    if settings.layer_blocks is not None:
        given = zip(sizes, settings.layer_blocks, strict=True)
        return [_planned("model.layer_blocks", plan_from, i, blocks) if blocks else None for (i, _), blocks in given]
    if settings.sparse_layers == "none":
        return [None] * len(sizes)
    if settings.sparse_layers == "direct":
        layout = {"blocks": settings.sparse_blocks, "density": settings.sparse_density}
        return [_planned("model.sparse_", plan_blocks, *size, **layout) for size in sizes]
    whole, fraction = 1.0, settings.sparse_fraction
    outer = whole if settings.sparse_layers == "hidden" else fraction
    inner = whole if settings.sparse_layers == "embedding" else fraction
    shares = list(pairwise([outer, *[inner] * (len(sizes) - 1), outer]))
    return [
        None
        if a == b == 1
        else _planned(f"model.sparse_fraction: layer {index}: ", plan_reduction, *size, reduce_in=a, reduce_out=b)
        for index, (size, (a, b)) in enumerate(zip(sizes, shares, strict=True))
    ]


def embedding_bands(settings: Model, vocabulary_size: int) -> tuple[Band, ...] | None:
    """The blocks of the embedding, or None where it is dense.

    Args:
        settings: of the model.
        vocabulary_size: V.

    Raises:
        UserError: when it cannot be planned.
    """
    if settings.embedding_bands is not None:
        return tuple(Band(*band) for band in settings.embedding_bands)
    blocks, density = settings.embedding_blocks, settings.embedding_density
    if blocks == 1:
        return None
    size = settings.embedding_size
    planned: tuple[Band, ...] = _planned(
        "model.embedding_", plan_bands, vocabulary_size, size, blocks=blocks, density=density
    )
    return planned


def _planned(place: str, plan: Callable[..., Any], *sizes: Any, **layout: Any) -> Any:
    try:
        return plan(*sizes, **layout)
    except ValueError as error:
        raise UserError(f"{place}{error}") from None
