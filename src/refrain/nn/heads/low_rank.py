"""The softmax head of low rank: the hidden vector is projected before it is compared with the vectors of the words.

The logits are W P h + b. With a rank R below the width of h, V R + R D entries take the place of V D (Sainath et al.,
2013, Low-rank matrix factorization for deep neural network training, ICASSP, section 2). W can be the matrix of an
embedding that is R wide, where a plain tied head needs one as wide as the last layer.

N tokens (any leading shape), D input width, R rank, V words in the vocabulary.
"""

import math

import torch
from torch import Tensor, nn

from refrain.axes import Axis, AxisTable
from refrain.nn.kernels.backend import TORCH
from refrain.nn.precision import widened
from refrain.nn.step_graph.builder import GraphBuilder, Value

from .linear_cross_entropy import (
    NATIVE_FROM,
    largest_parameter,
    linear_cross_entropy,
    no_autocast,
    token_nats,
    token_rows,
)
from .tying import check_tied


class LowRankHead(nn.Module):
    """Two linear layers, from D to R and from R to V, and a softmax.

    Args:
        input_size: D.
        rank: R.
        vocabulary_size: V.
        weight: the (V, R) parameter to share, for example an embedding's, or None for one of its own.

    Attributes:
        backend: what the head trains with.

    Raises:
        ValueError: when a size is not positive or the shared weight has another shape.
    """

    kernels = "softmax"
    backends = ("torch", "native")
    native_from = NATIVE_FROM
    inner_widths: tuple[str, ...] = ("rank",)

    def __init__(self, input_size: int, rank: int, vocabulary_size: int, *, weight: nn.Parameter | None = None) -> None:
        super().__init__()
        if min(input_size, rank, vocabulary_size) < 1:
            raise ValueError(f"LowRankHead sizes must be positive, got {input_size=}, {rank=}, {vocabulary_size=}")
        check_tied(weight, vocabulary_size, rank)
        self.backend = TORCH
        self.tied = weight is not None
        self.projection = nn.Parameter(torch.empty(rank, input_size))
        self.weight = weight if weight is not None else nn.Parameter(torch.empty(vocabulary_size, rank))
        self.bias = nn.Parameter(torch.empty(vocabulary_size))
        self.reset_parameters()

    @property
    def native_size(self) -> int:
        """The size of the largest weight, to which `native_from` refers."""
        return largest_parameter(self)

    @property
    def tied_width(self) -> str | None:
        """The embedding is as wide as the projected vectors in a head that shares it."""
        return "rank" if self.tied else None

    def reset_parameters(self) -> None:
        """Draw the projection from U(-1/sqrt(D), 1/sqrt(D)), an own weight likewise by R; the bias is 0. In place."""
        own = [self.projection] if self.tied else [self.projection, self.weight]
        for parameter in own:
            bound = 1 / math.sqrt(parameter.shape[1])
            nn.init.uniform_(parameter, -bound, bound)
        nn.init.zeros_(self.bias)

    def _projected(self, hidden: Tensor) -> Tensor:
        """hidden (..., D) -> (..., R)."""
        return nn.functional.linear(hidden.to(self.projection.dtype), self.projection)

    def forward(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """hidden (..., D), targets (...) -> the sum of the targets' nats, a scalar with a gradient."""
        rows, words = token_rows(hidden, targets)
        backend = self.backend if self.training else TORCH
        return linear_cross_entropy(self._projected(rows), self.weight, self.bias, words, backend=backend)

    def token_nats(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """hidden (..., D), targets (...) -> the nats of each target, in the shape of targets, without a gradient."""
        rows, words = token_rows(hidden, targets)
        with torch.no_grad(), no_autocast(self.weight):
            return token_nats(self._projected(rows), self.weight, self.bias, words).reshape(targets.shape)

    def log_probabilities(self, hidden: Tensor) -> Tensor:
        """hidden (..., D) -> natural log-probabilities (..., V)."""
        return widened(nn.functional.linear(self._projected(hidden), self.weight, self.bias)).log_softmax(dim=-1)

    def describe(self, build: GraphBuilder, hidden: Value) -> Value:
        """The log-probabilities as operations; see `Describable`."""
        projected = hidden @ build.weight("projection", self.projection).T
        weight = build.weight("weight", self.weight)
        return (projected @ weight.T + build.weight("bias", self.bias)).log_softmax()

    def axes(self, input_width: str, vocabulary_width: str, *, rank: str = "rank") -> AxisTable:
        """The axes of each parameter, under the names that the model chose for the three widths."""
        words = Axis(vocabulary_width, removable=False)
        return {
            "projection": (Axis(rank), Axis(input_width, role="reads")),
            "weight": (words, Axis(rank, role="reads")),
            "bias": (words._replace(role="shifts"),),
        }

    def extra_repr(self) -> str:
        """The sizes, for print."""
        rank, width = self.projection.shape
        return f"{width}, {rank}, {self.weight.shape[0]}{', tied' if self.tied else ''}"
