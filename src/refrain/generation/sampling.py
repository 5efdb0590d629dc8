"""Filters of a distribution, applied in the order temperature, top-k, top-p.

B batch size, V tokens in the vocabulary.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def with_temperature(log_probabilities: Tensor, temperature: float) -> Tensor:
    """Divide log-probabilities (B, V) by the temperature and normalise them again."""
    # the largest becomes 0, which stays finite for any temperature
    relative = log_probabilities - log_probabilities.amax(dim=-1, keepdim=True)
    return (relative / temperature).log_softmax(dim=-1)


def top_k(log_probabilities: Tensor, k: int) -> Tensor:
    """Keep the k most probable tokens and ties with the k-th (Fan et al., 2018). (B, V), not normalised."""
    k = min(k, log_probabilities.shape[-1])
    smallest = log_probabilities.topk(k, dim=-1).values[:, -1:]
    return log_probabilities.masked_fill(log_probabilities < smallest, -math.inf)


def top_p(log_probabilities: Tensor, p: float) -> Tensor:
    """Keep the fewest tokens whose total probability is at least p (Holtzman et al., 2020). (B, V), not normalised."""
    ordered, order = log_probabilities.softmax(dim=-1).sort(dim=-1, descending=True)
    # a token is kept if those before it do not reach p, so that the first is always kept
    outside = ordered.cumsum(dim=-1) - ordered >= p
    return log_probabilities.masked_fill(torch.zeros_like(outside).scatter(1, order, outside), -math.inf)


class Sampler:
    """Draws the next token.

    Args:
        temperature: divides the log-probabilities; 0 chooses the most probable token.
        top_k: see `top_k`; None keeps all tokens.
        top_p: see `top_p`; None keeps all tokens.
        banned: ids that are never drawn.

    Raises:
        ValueError: when a value is out of range or cannot take effect.
    """

    def __init__(
        self,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        banned: Sequence[int] = (),
    ) -> None:
        if not 0 <= temperature < math.inf:
            raise ValueError(f"temperature must be at least 0 and finite (got {temperature})")
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k must be at least 1 (got {top_k})")
        if top_p is not None and not 0 < top_p <= 1:
            raise ValueError(f"top_p must be greater than 0 and at most 1 (got {top_p})")
        for name, value in (("top_k", top_k), ("top_p", top_p)):
            if temperature == 0 and value is not None:
                raise ValueError(f"{name} cannot take effect with temperature 0, which takes the most probable token")
        self.temperature = temperature
        self.top_k = top_k
        self.top_p = top_p
        self.banned = list(banned)

    def __call__(self, log_probabilities: Tensor, generator: torch.Generator) -> Tensor:
        """Draw ids (B,) from log-probabilities (B, V). The generator must be on the CPU and is advanced.

        Raises:
            FloatingPointError: when a log-probability is NaN.
        """
        # in float64, no temperature or probability that a user can enter becomes 0 or infinite
        log_probabilities = log_probabilities.cpu().double()
        if log_probabilities.isnan().any():
            raise FloatingPointError("the model's probabilities are not numbers; its weights have run away")
        if self.banned:
            log_probabilities = log_probabilities.index_fill(1, torch.tensor(self.banned), -math.inf)
        if self.temperature == 0:
            return log_probabilities.argmax(dim=-1)
        log_probabilities = with_temperature(log_probabilities, self.temperature)
        if self.top_k is not None:
            log_probabilities = top_k(log_probabilities, self.top_k)
        if self.top_p is not None:
            log_probabilities = top_p(log_probabilities, self.top_p)
        return torch.multinomial(log_probabilities.softmax(dim=-1), 1, generator=generator)[:, 0]
