"""Word vectors: a row of a matrix for each token id.

V words in the vocabulary, D embedding width.
"""

import torch
from torch import Tensor, nn

from refrain.axes import Axis, AxisTable
from refrain.nn.step_graph.builder import GraphBuilder, Value

from .dropout import EmbeddingDropout
from .given_module import WORD_DROPOUT, check_module


class Embedding(nn.Module):
    """Looks up a vector for each token; there is no padding id.

    Args:
        vocabulary_size: V.
        embedding_size: D.
        word_dropout: maps the vectors, their ids and V to the vectors used, for example `EmbeddingDropout(0.1)`.

    Attributes:
        sparse_gradient: whether the weight's gradient in training is sparse, with rows for the ids that were looked up;
            the optimiser must support that, as `refrain.optim.SGD` does.

    Raises:
        ValueError: when a size is not positive, or `word_dropout` is no module.
    """

    def __init__(
        self, vocabulary_size: int, embedding_size: int, *, word_dropout: EmbeddingDropout | None = None
    ) -> None:
        super().__init__()
        if vocabulary_size < 1 or embedding_size < 1:
            raise ValueError(f"Embedding sizes must be positive, got {vocabulary_size=}, {embedding_size=}")
        self.vocabulary_size = vocabulary_size
        self.embedding_size = embedding_size
        self.weight = nn.Parameter(torch.empty(vocabulary_size, embedding_size))
        check_module("word_dropout", word_dropout, WORD_DROPOUT)
        self.word_dropout = word_dropout
        self.sparse_gradient = False
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the vectors from U(-0.1, 0.1) (Merity et al., 2018, section 5). Changes them in place."""
        nn.init.uniform_(self.weight, -0.1, 0.1)

    def forward(self, ids: Tensor) -> Tensor:
        """ids of any shape, int64 in [0, V) -> vectors of that shape with D appended."""
        vectors = nn.functional.embedding(ids, self.weight, sparse=self.sparse_gradient and self.training)
        return vectors if self.word_dropout is None else self.word_dropout(vectors, ids, self.vocabulary_size)

    def describe(self, build: GraphBuilder, ids: Value) -> Value:
        """The lookup as operations; see `Describable`."""
        return build.gather(ids, build.weight("weight", self.weight))

    def axes(self, vocabulary_width: str, embedding_width: str) -> AxisTable:
        """The axes of the weight, under the width names that the model chose."""
        return {"weight": (Axis(vocabulary_width, role="reads", removable=False), Axis(embedding_width))}

    def extra_repr(self) -> str:
        """The sizes, for print."""
        return f"{self.vocabulary_size}, {self.embedding_size}"
