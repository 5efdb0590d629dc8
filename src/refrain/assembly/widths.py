"""Widths of a language model <-> the settings that hold their sizes."""

from collections.abc import Mapping
from itertools import accumulate
from typing import Any, Protocol

from torch import Tensor

from refrain.axes import AxisTable, removable
from refrain.config import BandedEmbedding, Experiment, ExplicitPlan, SparseLSTMCell
from refrain.models import LanguageModel
from refrain.nn import SparseEmbedding, SparseLSTM

# inner width of a recurrent layer -> the setting that holds it, with one size a layer
INNER_SETTINGS = {"intermediate": "cell.intermediate_sizes"}


class DeclaresAxes(Protocol):
    """A model as far as its widths are concerned."""

    def axes(self) -> AxisTable:
        """The axes of every parameter."""
        ...


def size_settings(model: LanguageModel) -> dict[str, str | tuple[str, ...]]:
    """Each setting that holds sizes of widths, with the name of the width or the names of one width a layer.

    Args:
        model: as it was built from settings.
    """
    names = model.width_names()
    settings: dict[str, str | tuple[str, ...]] = {
        "embedding_size": names.embedding,
        "hidden_sizes": tuple(layer.hidden for layer in names.layers),
    }
    for inner, setting in INNER_SETTINGS.items():
        if all(inner in layer.inner for layer in names.layers):
            settings[setting] = tuple(layer.inner[inner] for layer in names.layers)
    return settings


def removable_widths(model: DeclaresAxes) -> list[str]:
    """The widths whose units a smaller model can do without, in the order of the model's axes.

    Every axis along such a width allows it. In a model that is built from settings, a setting holds its size alone.

    Args:
        model: a language model, or a network of another make that declares its axes.
    """
    possible = removable(model.axes())
    if not isinstance(model, LanguageModel):
        return possible
    names = model.width_names()
    settable = set()
    for widths in size_settings(model).values():
        settable |= {widths} if isinstance(widths, str) else set(widths)
    # embedding_size is the width of the embedding and that of the vectors of a mixture's components
    if names.head.get("embedding", names.embedding) != names.embedding:
        settable.discard(names.embedding)
    return [width for width in possible if width in settable]


def resized(experiment: Experiment, model: LanguageModel, kept: Mapping[str, Tensor]) -> Experiment:
    """An experiment whose model has other widths, plain weights, and no sparsity settings.

    Args:
        experiment: the settings.
        model: as it was built from them.
        kept: width -> indices of the units that stay, ascending; other widths stay whole.
    """
    sizes = model.widths() | {width: len(units) for width, units in kept.items()}
    changed: dict[str, Any] = experiment.model.model_dump() | {"weight_norm": False}
    for setting, widths in size_settings(model).items():
        group, _, name = setting.rpartition(".")
        place = changed[group] if group else changed
        place[name] = sizes[widths] if isinstance(widths, str) else tuple(sizes[width] for width in widths)
    changed |= _blocks_left(model, kept)
    return Experiment.model_validate(experiment.model_dump() | {"model": changed, "sparsity": {}})


def _blocks_left(model: LanguageModel, kept: Mapping[str, Tensor]) -> dict[str, Any]:
    """Settings that say what is left of the blocks of sparse layers and of a sparse embedding."""
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
