"""Which units a smaller model does without, and its settings."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from torch import Tensor

from refrain.assembly.sparsity import removable_widths
from refrain.config import Experiment
from refrain.errors import UserError
from refrain.models import LanguageModel
from refrain.nn import SparseEmbedding, SparseLSTM
from refrain.sparsity import dead_by_width, drop_until, model_size, places, weakest_first
from refrain.sparsity.compact import largest_entries


def units_to_remove(
    model: LanguageModel, *, threshold: float | None = None, to: tuple[str, int] | None = None
) -> dict[str, Tensor]:
    """The dead units of a model, and those that are given up for a smaller one. The model is not changed.

    Args:
        model: with plain weights.
        threshold: units all of whose weights are smaller than this in size go as well.
        to: `parameters`, `multiply_adds` or `bytes`, and how many at most: the weakest units go as well.

    Returns:
        Width -> (units,) bool.

    Raises:
        UserError: when nothing is to be removed, all units of a width would be, or a target is out of reach.
    """
    table, parameters, sizes = model.axes(), dict(model.named_parameters()), model.widths()
    widths, found = removable_widths(model), places(table)
    small: dict[str, Tensor] = {}
    if threshold is not None:
        small = {width: largest_entries(parameters, found[width]) < threshold for width in widths}
    dead = dead_by_width(parameters, table, widths, gone=small)
    for width in widths:
        if dead[width].all():
            cause = f"with --threshold {threshold:g}; ask for less" if threshold is not None else "already"
            raise UserError(f"all {sizes[width]} units of {width} are dead {cause}")
    if to is not None:
        measure, target = to
        whole = model_size(measure, table, sizes)
        if target >= whole:
            raise UserError(f"--to {measure}={target}: the model has {whole:,}, which is not more; ask for less")
        ranking = [pair for pair in weakest_first(parameters, table, widths) if not dead[pair[0]][pair[1]]]
        try:
            dropped = drop_until(ranking, table, sizes, measure=measure, target=target, dead=dead)
        except ValueError as error:
            raise UserError(f"--to {measure}={target}: {error}") from None
        for width, units in dropped.items():
            dead[width][units] = True
        dead = dead_by_width(parameters, table, widths, gone=dead)
    if not any(which.any() for which in dead.values()):
        given = "" if threshold is None else f", and none has all its weights below {threshold:g}"
        raise UserError(
            f"nothing to remove: no unit of {', '.join(widths)} is dead{given}; give a --threshold or a smaller size "
            "with --to, or train with sparsity.group_lasso"
        )
    return dead


def resized(experiment: Experiment, network: LanguageModel, kept: Mapping[str, Tensor]) -> Experiment:
    """An experiment whose model has other widths, plain weights, and no sparsity settings.

    Args:
        experiment: the settings.
        network: the model as it is.
        kept: the units that stay, ascending, by the names that the model gives its widths.
    """
    model, widths = experiment.model, {width: len(units) for width, units in kept.items()}
    last = len(model.hidden_sizes) - 1
    # the last layer of a tied softmax is as wide as the embedding and has no name of its own
    tied = model.tied and model.head == "softmax"
    names = ["embedding" if tied and index == last else f"layer{index}" for index in range(last + 1)]
    hidden = [
        widths.get(name if name == "embedding" else f"{name}.hidden", size)
        for name, size in zip(names, model.hidden_sizes, strict=True)
    ]
    changed: dict[str, Any] = {
        "embedding_size": widths.get("embedding", model.embedding_size),
        "hidden_sizes": tuple(hidden),
        "weight_norm": False,
    }
    if model.cell == "mlstm":
        inner = model.intermediate_sizes or model.hidden_sizes
        changed["intermediate_sizes"] = tuple(
            widths.get(f"{name}.intermediate", size) for name, size in zip(names, inner, strict=True)
        )
    changed |= _blocks_left(
        network, ["embedding", *(name if name == "embedding" else f"{name}.hidden" for name in names)], kept
    )
    settings = experiment.model_dump() | {"model": model.model_dump() | changed, "sparsity": {}}
    return Experiment.model_validate(settings)


def _blocks_left(network: LanguageModel, names: Sequence[str], kept: Mapping[str, Tensor]) -> dict[str, Any]:
    """Settings that say what is left of the blocks of sparse layers and of a sparse embedding.

    Args:
        network: the model as it is.
        names: of the embedding's width and of those of the layers.
        kept: the units that stay.
    """
    changed: dict[str, Any] = {}

    def left(width: str, begin: int, end: int) -> int:
        return int(((kept[width] >= begin) & (kept[width] < end)).sum()) if width in kept else end - begin

    layers: list[Any] = []
    for layer, below, own in zip(network.stack.layers, names, names[1:], strict=False):
        blocks, first = [], 0
        for begin, end, units in layer.plan.blocks if isinstance(layer, SparseLSTM) else ():
            blocks.append((left(below, 0, begin), left(below, 0, end), left(own, first, first + units)))
            first += units
        layers.append(tuple(blocks) or None)
    if any(layers):
        changed |= {"sparse_layers": "none", "sparse_fraction": None, "sparse_blocks": None, "sparse_density": None}
        changed["layer_blocks"] = tuple(layers)
    if isinstance(network.embedding, SparseEmbedding):
        bands = network.embedding.bands
        firsts = accumulate((band.width for band in bands), initial=0)
        changed |= {"embedding_blocks": 1, "embedding_density": 1.0}
        changed["embedding_bands"] = tuple(
            (start, left("embedding", first, first + width))
            for (start, width), first in zip(bands, firsts, strict=False)
        )
    return changed
