"""The plain softmax head, untied or tied to the embedding (Inan et al., 2017; Press & Wolf, 2017).

N tokens (any leading shape), D input width, V words in the vocabulary.
"""

import math
from typing import Protocol

import torch
from torch import Tensor, nn

from refrain.axes import Axis, AxisTable
from refrain.nn.kernels.backend import TORCH
from refrain.nn.precision import widened
from refrain.nn.step_graph.builder import GraphBuilder, Value

from .linear_cross_entropy import NATIVE_FROM, largest_parameter, linear_cross_entropy, token_nats, token_rows
from .tying import check_tied


class Head(Protocol):
    """From hidden vectors to a distribution over the next token. The loss is the head's own business.

    Attributes:
        inner_widths: widths beside the input and the vocabulary, each of which `axes` takes a name for, as a keyword.
        tied_width: where the head shares the embedding's matrix, which width the vectors of that matrix have: `input`
            or one of `inner_widths`; `ranks` where every band of a tied `BlockLowRankHead` has a rank, so that the
            matrices of the bands have vectors of different widths; None where it shares nothing.
    """

    inner_widths: tuple[str, ...]

    @property
    def tied_width(self) -> str | None:
        """The width of the shared matrix's vectors, or None."""
        ...

    def forward(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """hidden (..., D), targets (...) -> the sum of the targets' nats, a scalar that can be differentiated once."""
        ...

    def token_nats(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """hidden (..., D), targets (...) -> the nats of each target, in the shape of targets, without a gradient."""
        ...

    def log_probabilities(self, hidden: Tensor) -> Tensor:
        """hidden (..., D) -> natural log-probabilities (..., V)."""
        ...

    def axes(self, input_width: str, vocabulary_width: str) -> AxisTable:
        """The axes of each parameter, under the width names that the model chose."""
        ...


class SoftmaxHead(nn.Module):
    """A linear layer and a softmax.

    Args:
        input_size: D.
        vocabulary_size: V.
        weight: the (V, D) parameter to share, for example an embedding's, or None for one of its own.

    Attributes:
        backend: what the head trains with.

    Raises:
        ValueError: when a size is not positive, or the shared weight has another shape.
    """

    kernels = "softmax"
    backends = ("torch", "native")
    native_from = NATIVE_FROM
    inner_widths: tuple[str, ...] = ()

    def __init__(self, input_size: int, vocabulary_size: int, *, weight: nn.Parameter | None = None) -> None:
        super().__init__()
        if min(input_size, vocabulary_size) < 1:
            raise ValueError(f"SoftmaxHead sizes must be positive, got {input_size=}, {vocabulary_size=}")
        check_tied(weight, vocabulary_size, input_size, "; the embedding must be as wide as the last layer")
        self.backend = TORCH
        self.tied = weight is not None
        self.weight = weight if weight is not None else nn.Parameter(torch.empty(vocabulary_size, input_size))
        self.bias = nn.Parameter(torch.empty(vocabulary_size))
        self.reset_parameters()

    @property
    def native_size(self) -> int:
        """The size of the largest weight, to which `native_from` refers."""
        return largest_parameter(self)

    @property
    def tied_width(self) -> str | None:
        """The embedding is as wide as the input of a head that shares it."""
        return "input" if self.tied else None

    def reset_parameters(self) -> None:
        """Draw an own weight from U(-1/sqrt(D), 1/sqrt(D)); the bias starts at 0. Changes them in place."""
        if not self.tied:
            bound = 1 / math.sqrt(self.weight.shape[1])
            nn.init.uniform_(self.weight, -bound, bound)
        nn.init.zeros_(self.bias)

    def forward(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """hidden (..., D), targets (...) -> the sum of the targets' nats, a scalar with a gradient."""
        rows, words = token_rows(hidden, targets)
        backend = self.backend if self.training else TORCH
        return linear_cross_entropy(rows, self.weight, self.bias, words, backend=backend)

    def token_nats(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """hidden (..., D), targets (...) -> the nats of each target, in the shape of targets, without a gradient."""
        rows, words = token_rows(hidden, targets)
        return token_nats(rows, self.weight, self.bias, words).reshape(targets.shape)

    def log_probabilities(self, hidden: Tensor) -> Tensor:
        """hidden (..., D) -> natural log-probabilities (..., V)."""
        return widened(nn.functional.linear(hidden.to(self.weight.dtype), self.weight, self.bias)).log_softmax(dim=-1)

    def describe(self, build: GraphBuilder, hidden: Value) -> Value:
        """The log-probabilities as operations; see `Describable`."""
        weight = build.weight("weight", self.weight)
        return (hidden @ weight.T + build.weight("bias", self.bias)).log_softmax()

    def axes(self, input_width: str, vocabulary_width: str) -> AxisTable:
        """The axes of each parameter, under the width names that the model chose."""
        words = Axis(vocabulary_width, removable=False)
        return {"weight": (words, Axis(input_width, role="reads")), "bias": (words._replace(role="shifts"),)}

    def extra_repr(self) -> str:
        """The sizes, for print."""
        return f"{self.weight.shape[1]}, {self.weight.shape[0]}{', tied' if self.tied else ''}"
