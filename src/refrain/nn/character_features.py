"""Vectors for features of a word's spelling, such as prefixes, suffixes and shape; their sum is added to its embedding.

A word that was never seen still has a suffix. Bojanowski et al. (2017) add vectors of character n-grams in the same
way; here the features are those of classical taggers (Ratnaparkhi, 1996), chosen by the code that encodes the words.

F features a word, N features in all, D embedding width.
"""

import torch
from torch import Tensor, nn

from refrain.axes import Axis, AxisTable
from refrain.nn.step_graph.builder import GraphBuilder, Value


class CharacterFeatures(nn.Module):
    """The sum of the vectors of a word's features.

    Args:
        num_features: N.
        embedding_size: D.

    Raises:
        ValueError: when a size is not positive.
    """

    def __init__(self, num_features: int, embedding_size: int) -> None:
        super().__init__()
        if num_features < 1 or embedding_size < 1:
            raise ValueError(f"CharacterFeatures sizes must be positive, got {num_features=}, {embedding_size=}")
        self.num_features = num_features
        self.embedding_size = embedding_size
        self.weight = nn.Parameter(torch.empty(num_features, embedding_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the vectors from U(-0.1, 0.1), as those of words. Changes them in place."""
        nn.init.uniform_(self.weight, -0.1, 0.1)

    def forward(self, features: Tensor) -> Tensor:
        """ids (..., F), int64 in [0, N) -> (..., D)."""
        flat = features.flatten(0, -2) if features.ndim > 1 else features[None]
        summed = nn.functional.embedding_bag(flat, self.weight, mode="sum")
        return summed.view(*features.shape[:-1], self.embedding_size)

    def describe(self, build: GraphBuilder, *features: Value) -> Value:
        """The sum of the rows of each feature's ids as operations; see `Describable`."""
        weight = build.weight("weight", self.weight)
        rows = [build.gather(ids, weight) for ids in features]
        return sum(rows[1:], rows[0])

    def axes(self, feature_width: str, embedding_width: str) -> AxisTable:
        """The axes of the weight, under the width names that the model chose."""
        return {"weight": (Axis(feature_width, role="reads", removable=False), Axis(embedding_width))}

    def extra_repr(self) -> str:
        """The sizes, for print."""
        return f"{self.num_features}, {self.embedding_size}"
