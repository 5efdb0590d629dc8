"""Vectors for what a word is made of: its beginnings, endings and shape, added up.

A word that was never seen still has an ending. As in Bojanowski et al. (2017), who add vectors of character n-grams to
that of the word; here the features are those of classical taggers (Ratnaparkhi, 1996): whoever encodes the words
chooses them.

F features a word, N features in all, D embedding width.
"""

import torch
from torch import Tensor, nn

from refrain.axes import Axis, AxisTable


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
        flat = features.reshape(-1, features.shape[-1])
        summed = nn.functional.embedding_bag(flat, self.weight, mode="sum")
        return summed.view(*features.shape[:-1], self.embedding_size)

    def axes(self, feature_width: str, embedding_width: str) -> AxisTable:
        """The axes of the weight, under the width names that the model chose."""
        return {"weight": (Axis(feature_width, role="reads", removable=False), Axis(embedding_width))}
