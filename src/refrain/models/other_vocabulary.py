"""The weights of a trained model for another vocabulary: rows of known units are kept, rows of new ones are means.

A vocabulary is a width of a model, and so are the features and tags of a tagger. The declared axes name every row of
them: those of the embedding, of the head and its bias, and both axes of the transitions between tags.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from refrain.nn import AdaptiveHead, SparseEmbedding

from .adaptive_rows import adaptive_rows
from .band_rows import band_rows, parts_in_bands

NEVER = -1e4
"""The logit of a token that an imported model does not have: far below any other, and not infinite."""


class Units(NamedTuple):
    """Where the units of a width come from.

    Attributes:
        source: for each unit of the new model, its index in the trained model, or -1 for a new unit (V,).
        initial: the units of the trained model whose mean each new unit starts from (N,).
    """

    source: Tensor
    initial: Tensor

    def rows_of(self, matrix: Tensor) -> Tensor:
        """The rows of a matrix (or the entries of a vector) of the trained model for the units of the new one."""
        rows = matrix[self.source.clamp_min(0)]
        new = self.source < 0
        if bool(new.any()):
            rows[new] = matrix[self.initial].mean(dim=0)
        return rows


def carried_over(
    weights: Mapping[str, Tensor], trained: nn.Module, model: nn.Module, units: Mapping[str, Units]
) -> dict[str, Tensor]:
    """The weights of a trained model for a model that differs in some widths only.

    Args:
        weights: the weights of the trained model, by name.
        trained: the trained model; its parameters may be on the device `meta`, as only its layout is used.
        model: the new model, which is not changed.
        units: for each width that differs, where its units come from.

    Returns:
        The weights by the names of the new model. What the new model lacks, or has in another shape, is returned as it
        is in the trained model.
    """
    before: Any = trained
    after: Any = model
    found = {name: tensor for name, tensor in weights.items() if name not in before.axes()}
    table = before.axes()
    for name, axes in table.items():
        value = weights[name]
        for dimension, axis in enumerate(axes):
            if axis.width in units and axis.segment is None:
                value = units[axis.width].rows_of(value.movedim(dimension, 0)).movedim(0, dimension)
        found[name] = value.contiguous()
    words = units.get("vocabulary")
    if words is None:
        return found
    if isinstance(before.embedding, SparseEmbedding) and isinstance(after.embedding, SparseEmbedding):
        found = {name: value for name, value in found.items() if not name.startswith("embedding.blocks.")}
        found |= _sparse_embedding(weights, before.embedding, after.embedding, words)
    for parts in parts_in_bands(before.embedding, getattr(before, "head", None)):
        new = getattr(after, next(iter(parts)))
        if getattr(new, "bands", None) is not None and len(new.bands) == len(next(iter(parts.values())).bands):
            found |= band_rows(weights, parts, new, words)
    if isinstance(getattr(before, "head", None), AdaptiveHead) and isinstance(after.head, AdaptiveHead):
        cutoffs, edges = before.head.softmax.cutoffs[:-1], after.head.softmax.cutoffs
        if len(edges) == len(cutoffs) + 1:
            found |= adaptive_rows(weights, cutoffs, edges, words.source, words.initial)
    return found


def _sparse_embedding(
    weights: Mapping[str, Tensor], trained: SparseEmbedding, model: SparseEmbedding, words: Units
) -> dict[str, Tensor]:
    """The blocks of a sparse embedding, through the dense matrix. Entries that only the new layout has are zero."""
    matrix = weights["embedding.blocks.0"].new_zeros(trained.vocabulary_size, trained.embedding_size)
    first = 0
    for index, (start, width) in enumerate(trained.bands):
        matrix[start:, first : first + width] = weights[f"embedding.blocks.{index}"]
        first += width
    rows = words.rows_of(matrix)
    found: dict[str, Tensor] = {}
    first = 0
    for index, (start, width) in enumerate(model.bands):
        found[f"embedding.blocks.{index}"] = rows[start:, first : first + width].contiguous()
        first += width
    return found


def count_shortened(trained: SparseEmbedding, model: SparseEmbedding, source: Tensor) -> int:
    """How many known words have a shorter vector in a new sparse embedding than in the trained one.

    Args:
        trained: the trained embedding.
        model: the new embedding.
        source: as in `Units`.
    """

    def lengths(embedding: SparseEmbedding, ids: Tensor) -> Tensor:
        found = torch.zeros_like(ids)
        for start, width in embedding.bands:
            found += width * (ids >= start)
        return found

    known = source >= 0
    return int((lengths(model, torch.arange(len(source))) < lengths(trained, source))[known].sum())
