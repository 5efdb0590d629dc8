"""Mixture of softmaxes (Yang et al., 2018, Breaking the Softmax Bottleneck, equations 3 and 4).

The mixture is exact: log-sum-exp over the components, a normalised distribution, with no constant added to a
probability.

N tokens (any leading shape), D input width, K components, E width of a component's vector, V words.
"""

import math

import torch
from torch import Tensor, nn

from refrain.axes import Axis, AxisTable
from refrain.nn.given_module import module_or_identity
from refrain.nn.kernels.backend import TORCH
from refrain.nn.precision import widened
from refrain.nn.step_graph.builder import GraphBuilder, Value

from .linear_cross_entropy import (
    CHUNK_LOGITS,
    NATIVE_FROM,
    largest_parameter,
    mixture_cross_entropy,
    no_autocast,
    token_rows,
)
from .tying import check_tied


def mixture_log_probabilities(latent: Tensor, prior: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """log sum_k prior_k softmax(latent_k weight^T + bias): the equations.

    Args:
        latent: (..., K, E), after tanh and dropout.
        prior: log-probabilities of the components (..., K).
        weight: (V, E).
        bias: (V,).

    Returns:
        Natural log-probabilities (..., V).
    """
    components = widened(nn.functional.linear(latent, weight, bias)).log_softmax(dim=-1)  # (..., K, V)
    return torch.logsumexp(components + prior[..., None], dim=-2)


class MixtureHead(nn.Module):
    """A mixture of K softmaxes over one vocabulary matrix.

    Args:
        input_size: D.
        embedding_size: E.
        vocabulary_size: V.
        components: K.
        weight: the (V, E) parameter to share, or None for one of its own.
        latent_dropout: acts on the vectors of all components (T, B, K * E) before the softmax.

    Attributes:
        backend: what the head trains with.

    Raises:
        ValueError: when a size is not positive, the shared weight has another shape, or the dropout is no module.
    """

    kernels = "softmax"
    backends = ("torch", "native")
    native_from = NATIVE_FROM
    inner_widths: tuple[str, ...] = ("embedding", "components")

    def __init__(
        self,
        input_size: int,
        embedding_size: int,
        vocabulary_size: int,
        *,
        components: int,
        weight: nn.Parameter | None = None,
        latent_dropout: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if min(input_size, embedding_size, vocabulary_size, components) < 1:
            raise ValueError(
                f"MixtureHead sizes must be positive, got {input_size=}, {embedding_size=}, {vocabulary_size=}, "
                f"{components=}"
            )
        check_tied(weight, vocabulary_size, embedding_size)
        self.backend = TORCH
        self.components = components
        self.tied = weight is not None
        self.latent_weight = nn.Parameter(torch.empty(components * embedding_size, input_size))
        self.latent_bias = nn.Parameter(torch.empty(components * embedding_size))
        self.prior_weight = nn.Parameter(torch.empty(components, input_size))
        self.weight = weight if weight is not None else nn.Parameter(torch.empty(vocabulary_size, embedding_size))
        self.bias = nn.Parameter(torch.empty(vocabulary_size))
        self.latent_dropout = module_or_identity("latent_dropout", latent_dropout)
        self.reset_parameters()

    @property
    def native_size(self) -> int:
        """The size of the largest weight, to which `native_from` refers."""
        return largest_parameter(self)

    @property
    def tied_width(self) -> str | None:
        """The embedding is as wide as the components' vectors in a head that shares it."""
        return "embedding" if self.tied else None

    def reset_parameters(self) -> None:
        """U(-1/sqrt(D), 1/sqrt(D)) for latent and prior, U(-0.1, 0.1) for an own weight, 0 for the bias. In place."""
        bound = 1 / math.sqrt(self.latent_weight.shape[1])
        for parameter in (self.latent_weight, self.latent_bias, self.prior_weight):
            nn.init.uniform_(parameter, -bound, bound)
        if not self.tied:
            nn.init.uniform_(self.weight, -0.1, 0.1)
        nn.init.zeros_(self.bias)

    def _latent(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors (..., K, E) and log-prior (..., K) of each token."""
        hidden = hidden.to(self.weight.dtype)
        latent = self.latent_dropout(nn.functional.linear(hidden, self.latent_weight, self.latent_bias).tanh())
        prior = widened(nn.functional.linear(hidden, self.prior_weight)).log_softmax(dim=-1)
        return latent.unflatten(-1, (self.components, -1)), prior

    def forward(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """hidden (..., D), targets (...) -> the sum of the targets' nats, a scalar with a gradient."""
        _, words = token_rows(hidden, targets)
        # before tokens are joined, because a dropout mask may be the same at all time steps
        latent, prior = self._latent(hidden)
        return mixture_cross_entropy(
            latent.reshape(-1, *latent.shape[-2:]),
            prior.reshape(-1, self.components),
            self.weight,
            self.bias,
            words,
            backend=self.backend if self.training else TORCH,
        )

    def token_nats(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """hidden (..., D), targets (...) -> the nats of each target, in the shape of targets, without a gradient."""
        with torch.no_grad(), no_autocast(self.weight):
            pairs = zip(*(part.split(self._rows()) for part in token_rows(hidden, targets)), strict=True)
            nats = [-self.log_probabilities(h).gather(-1, t[:, None])[:, 0] for h, t in pairs]
            return torch.cat(nats).reshape(targets.shape)

    def log_probabilities(self, hidden: Tensor) -> Tensor:
        """hidden (..., D) -> natural log-probabilities (..., V)."""
        return mixture_log_probabilities(*self._latent(hidden), self.weight, self.bias)

    def describe(self, build: GraphBuilder, hidden: Value) -> Value:
        """The log-probabilities as operations; see `Describable`."""
        latent = (hidden @ build.weight("latent_weight", self.latent_weight).T) + build.weight(
            "latent_bias", self.latent_bias
        )
        prior = (hidden @ build.weight("prior_weight", self.prior_weight).T).log_softmax()
        weight, bias = build.weight("weight", self.weight), build.weight("bias", self.bias)
        pairs = zip(latent.tanh().chunk(self.components), prior.chunk(self.components), strict=True)
        return build.log_add_exp([(part @ weight.T + bias).log_softmax() + share for part, share in pairs])

    def _rows(self) -> int:
        return max(1, CHUNK_LOGITS // (self.components * self.weight.shape[0]))

    def axes(
        self, input_width: str, vocabulary_width: str, *, embedding: str = "embedding", components: str = "components"
    ) -> AxisTable:
        """The axes of each parameter, under the names that the model chose for the four widths."""
        latent = Axis(embedding, self.components)
        words = Axis(vocabulary_width, removable=False)
        return {
            "latent_weight": (latent, Axis(input_width, role="reads")),
            "latent_bias": (latent._replace(role="shifts"),),
            # a component of zeros keeps a share of the mixture
            "prior_weight": (Axis(components, removable=False), Axis(input_width, role="reads")),
            "weight": (words, Axis(embedding, role="reads")),
            "bias": (words._replace(role="shifts"),),
        }

    def extra_repr(self) -> str:
        """The sizes, for print."""
        sizes = [self.latent_weight.shape[1], self.weight.shape[1], self.weight.shape[0]]
        return f"{', '.join(map(str, sizes))}, components={self.components}{', tied' if self.tied else ''}"
