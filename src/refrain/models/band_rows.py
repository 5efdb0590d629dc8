"""The rows of bands of words for another vocabulary, in which words move from one band to another.

A word has the vector r P in a band with the projection P. In another band with the projection Q its row is the
least-squares solution s of s Q = r P. Rows that an embedding and a head share are the solution for both projections
side by side.

R rank of a band, D width of a vector.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from refrain.nn import BlockLowRankEmbedding, BlockLowRankHead
from refrain.nn.block_low_rank import edges

if TYPE_CHECKING:
    from .other_vocabulary import Units

Part = BlockLowRankEmbedding | BlockLowRankHead


def band_rows(
    weights: Mapping[str, Tensor], trained: Mapping[str, Part], model: Part, words: "Units"
) -> dict[str, Tensor]:
    """The rows of each band of a new model. Words that stay in their band keep their rows bit for bit.

    Args:
        weights: the weights of the trained model, by name.
        trained: the parts of the trained model that have the rows: the embedding, the head, or both if they share them;
            by name.
        model: the part of the new model, under the name of the first, which has as many bands.
        words: where the words of the new model come from.
    """
    name, part = next(iter(trained.items()))
    projections = [torch.cat(_projections(weights, trained, index), dim=1) for index in range(len(part.bands))]
    blocks = [weights[f"{name}.blocks.{index}"] for index in range(len(part.bands))]
    vectors = torch.cat([block @ projection for block, projection in zip(blocks, projections, strict=True)])
    moved = words.rows_of(vectors)
    found = {}
    before = edges(part.vocabulary_size, part.bands)
    after = edges(model.vocabulary_size, model.bands)
    for index, ((first, last), (start, end), block) in enumerate(zip(before, after, blocks, strict=True)):
        inverse = torch.linalg.pinv(projections[index].double()).to(vectors.dtype)
        rows = moved[start:end] @ inverse
        own = words.source[start:end]
        stays = (own >= first) & (own < last)
        rows[stays] = block[own[stays] - first]
        found[f"{name}.blocks.{index}"] = rows
    return found


def _projections(weights: Mapping[str, Tensor], trained: Mapping[str, Part], index: int) -> list[Tensor]:
    """What the rows of a band are multiplied with by each part (R, D)."""
    found = []
    for name, part in trained.items():
        projection = weights.get(f"{name}.projections.{index}")
        if projection is None:
            found.append(torch.eye(part.blocks[index].shape[1], dtype=weights[f"{next(iter(trained))}.blocks.0"].dtype))
        else:
            found.append(projection.T if isinstance(part, BlockLowRankEmbedding) else projection)
    return found


def parts_in_bands(embedding: object, head: object) -> Sequence[Mapping[str, Part]]:
    """The parts of a model that have rows in bands, those together that share them.

    Args:
        embedding: the embedding of the model.
        head: the head of the model.
    """
    parts: dict[str, Part] = {}
    if isinstance(embedding, BlockLowRankEmbedding):
        parts["embedding"] = embedding
    if isinstance(head, BlockLowRankHead):
        parts["head"] = head
        if head.tied:
            return [parts]
    return [{name: part} for name, part in parts.items()]
