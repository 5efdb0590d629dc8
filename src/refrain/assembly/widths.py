"""Maps the widths of a language model to the settings with their sizes, and back."""

from collections.abc import Mapping
from itertools import accumulate
from typing import Any, Protocol

from torch import Tensor

from refrain.axes import AxisTable, removable
from refrain.config import BandedEmbedding, BlockLowRank, Experiment, ExplicitPlan, SparseLSTMCell
from refrain.config import BlockLowRankEmbedding as BlockLowRankLayout
from refrain.models import LanguageModel
from refrain.nn import BlockLowRankEmbedding, BlockLowRankHead, LowRankHead, SparseEmbedding, SparseLSTM
from refrain.nn.block_low_rank import rank_widths

# inner width of a recurrent layer -> its setting, which has a size for each layer
INNER_SETTINGS = {"intermediate": "cell.intermediate_sizes"}


class DeclaresAxes(Protocol):
    """A model that declares the axes of its parameters."""

    def axes(self) -> AxisTable:
        """The axes of every parameter."""
        ...


def size_settings(model: LanguageModel) -> dict[str, str | tuple[str, ...]]:
    """Map each setting with the size of a width to the name of the width, or to a tuple with a name for each layer.

    Args:
        model: a model that is built from settings.
    """
    names = model.width_names()
    settings: dict[str, str | tuple[str, ...]] = {
        "embedding_size": names.embedding,
        "hidden_sizes": tuple(layer.hidden for layer in names.layers),
    }
    if isinstance(model.head, LowRankHead):
        settings["head.rank"] = names.head["rank"]
    for inner, setting in INNER_SETTINGS.items():
        if all(inner in layer.inner for layer in names.layers):
            settings[setting] = tuple(layer.inner[inner] for layer in names.layers)
    return settings


def removable_widths(model: DeclaresAxes) -> list[str]:
    """The widths whose units can be removed, in the order of the axes of the model.

    Every axis along such a width is removable. In a model that is built from settings, the size of the width also has a
    setting, which no other width shares.

    Args:
        model: a language model, or another network that declares its axes.
    """
    possible = removable(model.axes())
    if not isinstance(model, LanguageModel):
        return possible
    names = model.width_names()
    settable = set()
    for widths in size_settings(model).values():
        settable |= {widths} if isinstance(widths, str) else set(widths)
    # the settings have the ranks of all bands in one list
    settable |= set(names.embedding_inner.values())
    settable |= set(names.head.values()) if isinstance(model.head, BlockLowRankHead) else set()
    # a mixture head uses embedding_size for the vectors of its components as well
    if names.head.get("embedding", names.embedding) != names.embedding:
        settable.discard(names.embedding)
    return [width for width in possible if width in settable]


def resized(experiment: Experiment, model: LanguageModel, kept: Mapping[str, Tensor]) -> Experiment:
    """Change the settings of an experiment to a model with fewer units, without weight norm and sparsity settings.

    Args:
        experiment: the settings of the model.
        model: the model that is built from the settings.
        kept: width -> ascending indices of the units to keep; other widths keep all units.
    """
    sizes = model.widths() | {width: len(units) for width, units in kept.items()}
    changed: dict[str, Any] = experiment.model.model_dump() | {"weight_norm": False}
    for setting, widths in size_settings(model).items():
        group, _, name = setting.rpartition(".")
        settings = changed[group] if group else changed
        settings[name] = sizes[widths] if isinstance(widths, str) else tuple(sizes[width] for width in widths)
    changed |= _blocks_left(model, kept) | _ranks_left(model, sizes)
    return Experiment.model_validate(experiment.model_dump() | {"model": changed, "sparsity": {}})


def _ranks_left(model: LanguageModel, sizes: Mapping[str, int]) -> dict[str, Any]:
    """The settings of an embedding and a head whose bands have ranks of their own, with the sizes of all widths."""
    names = model.width_names()
    changed: dict[str, Any] = {}
    parts = [("embedding", model.embedding, names.embedding_inner), ("head", model.head, names.head)]
    for setting, part, inner in parts:
        if isinstance(part, BlockLowRankEmbedding | BlockLowRankHead):
            widths = zip(part.bands, rank_widths(part.bands), strict=True)
            bands = tuple((start, "full" if width is None else sizes[inner[width]]) for (start, _), width in widths)
            changed[setting] = (BlockLowRankLayout if setting == "embedding" else BlockLowRank)(bands=bands)
    return changed


def _blocks_left(model: LanguageModel, kept: Mapping[str, Tensor]) -> dict[str, Any]:
    """The settings of sparse layers and of a sparse embedding with the units that are kept."""
    changed: dict[str, Any] = {}
    names = model.width_names()

    def left(width: str, begin: int, end: int) -> int:
        return int(((kept[width] >= begin) & (kept[width] < end)).sum()) if width in kept else end - begin

    layers: list[Any] = []
    below = names.embedding
    for layer, (own, _) in zip(model.stack.layers, names.layers, strict=True):
        blocks, first = [], 0
        for begin, end, units in layer.plan.blocks if isinstance(layer, SparseLSTM) else ():
            blocks.append((left(below, 0, begin), left(below, 0, end), left(own, first, first + units)))
            first += units
        layers.append(tuple(blocks))
        below = own
    if any(layers):
        changed["cell"] = SparseLSTMCell(plan=ExplicitPlan(layers=tuple(layers)))
    if isinstance(model.embedding, SparseEmbedding):
        bands = model.embedding.bands
        firsts = accumulate((band.width for band in bands), initial=0)
        remaining = tuple(
            (start, left(names.embedding, first, first + width))
            for (start, width), first in zip(bands, firsts, strict=False)
        )
        changed["embedding"] = BandedEmbedding(bands=remaining)
    return changed
