"""The softmax head that shares a sparse embedding.

D input width, V words in the vocabulary.
"""

import torch
from torch import Tensor, nn

from refrain.axes import Axis, AxisTable
from refrain.nn.kernels.backend import PLAIN
from refrain.nn.sparse_embedding import SparseEmbedding

from .softmax import SoftmaxHead


class SparseSoftmaxHead(SoftmaxHead):
    """A linear layer whose matrix is a sparse embedding's, and a softmax.

    Args:
        embedding: of V words, D wide; shared, not copied.
    """

    def __init__(self, embedding: SparseEmbedding) -> None:
        nn.Module.__init__(self)
        self.tied = True
        self.engine = PLAIN
        self.embedding = embedding
        self.bias = nn.Parameter(torch.empty(embedding.vocabulary_size))
        self.reset_parameters()

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The dense matrix (V, D), made anew at each call."""
        return self.embedding.matrix()

    def log_probabilities(self, hidden: Tensor) -> Tensor:
        """hidden (..., D) -> natural log-probabilities (..., V), without the dense matrix."""
        logits = self.bias.expand(*hidden.shape[:-1], -1).clone()
        parts = hidden.split([width for _, width in self.embedding.bands], -1)
        for part, (start, _), block in zip(parts, self.embedding.bands, self.embedding.blocks, strict=True):
            logits[..., start:] += part @ block.T
        return logits.log_softmax(dim=-1)

    def axes(self, input_width: str, vocabulary_width: str) -> AxisTable:
        """The axes of the bias; the matrix is the embedding's."""
        return {"bias": (Axis(vocabulary_width, role="shifts", removable=False),)}
