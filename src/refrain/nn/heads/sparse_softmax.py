"""The softmax head that shares a sparse embedding.

N tokens (any leading shape), D input width, V words in the vocabulary.
"""

import torch
from torch import Tensor, nn

from refrain.axes import Axis, AxisTable
from refrain.nn.kernels.backend import TORCH
from refrain.nn.precision import widened
from refrain.nn.sparse_embedding import SparseEmbedding
from refrain.nn.step_graph.builder import GraphBuilder, Value

from .linear_cross_entropy import NATIVE_FROM, largest_parameter, linear_cross_entropy, token_nats, token_rows


class SparseSoftmaxHead(nn.Module):
    """A softmax over logits that a sparse embedding's matrix gives.

    Args:
        embedding: of V words, D wide; shared, not copied.

    Attributes:
        backend: what the head trains with.
    """

    kernels = "softmax"
    backends = ("torch", "native")
    native_from = NATIVE_FROM
    inner_widths: tuple[str, ...] = ()
    tied = True
    tied_width = "input"

    def __init__(self, embedding: SparseEmbedding) -> None:
        super().__init__()
        self.backend = TORCH
        self.embedding = embedding
        self.bias = nn.Parameter(torch.empty(embedding.vocabulary_size))
        self.reset_parameters()

    @property
    def native_size(self) -> int:
        """The size of the largest weight, to which `native_from` refers."""
        return largest_parameter(self)

    def reset_parameters(self) -> None:
        """Set the bias to 0, in place; the matrix is the embedding's."""
        nn.init.zeros_(self.bias)

    def forward(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """hidden (..., D), targets (...) -> the sum of the targets' nats, a scalar with a gradient."""
        rows, words = token_rows(hidden, targets)
        backend = self.backend if self.training else TORCH
        return linear_cross_entropy(rows, self.embedding.matrix(), self.bias, words, backend=backend)

    def token_nats(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """hidden (..., D), targets (...) -> the nats of each target, in the shape of targets, without a gradient."""
        rows, words = token_rows(hidden, targets)
        return token_nats(rows, self.embedding.matrix(), self.bias, words).reshape(targets.shape)

    def log_probabilities(self, hidden: Tensor) -> Tensor:
        """hidden (..., D) -> natural log-probabilities (..., V), without the dense matrix."""
        hidden = hidden.to(self.bias.dtype)
        logits = self.bias.expand(*hidden.shape[:-1], -1).clone()
        parts = hidden.split([width for _, width in self.embedding.bands], -1)
        for part, (start, _), block in zip(parts, self.embedding.bands, self.embedding.blocks, strict=True):
            logits[..., start:] += part @ block.T
        return widened(logits).log_softmax(dim=-1)

    def describe(self, build: GraphBuilder, hidden: Value) -> Value:
        """The log-probabilities as operations; see `Describable`."""
        parts = hidden.split([width for _, width in self.embedding.bands])
        finished: list[Value] = []
        # logits of the words from the start of the last band on, to which the next band adds
        logits: Value = build.weight("bias", self.bias)
        before = 0
        for index, (part, (start, _), block) in enumerate(
            zip(parts, self.embedding.bands, self.embedding.blocks, strict=True)
        ):
            if start > before:
                done, logits = logits.split([start - before, logits.width - start + before])
                finished.append(done)
            logits = part @ build.weight(f"blocks.{index}", block).T + logits
            before = start
        return build.concat([*finished, logits]).log_softmax()

    def axes(self, input_width: str, vocabulary_width: str) -> AxisTable:
        """The axes of the bias; the matrix is the embedding's."""
        return {"bias": (Axis(vocabulary_width, role="shifts", removable=False),)}

    def extra_repr(self) -> str:
        """The sizes, for print."""
        return f"{self.embedding.embedding_size}, {self.embedding.vocabulary_size}, tied"
