"""Drawing the next token from a distribution that is filtered in the order temperature, top-k, top-p.

A token is drawn by the sum of the probabilities of the tokens up to it, in the order of ids: it is the first whose sum
exceeds a random number. On a CPU a kernel does so (cpp/sampling.cpp), which computes exponentials only of the tokens
that top-k leaves; `draw_filtered` is its reference.

B batch size, V tokens in the vocabulary.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from refrain.arguments import at_least_one, ids_of, real_of
from refrain.errors import UserError
from refrain.nn.kernels.sampling import draw, has_draw


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
    # of tokens with equal probabilities, those of lower ids come first, as in the kernel
    ordered, order = log_probabilities.double().softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
    # a token is kept if those before it do not reach p, so that the first is always kept
    outside = ordered.cumsum(dim=-1) - ordered >= p
    return log_probabilities.masked_fill(torch.zeros_like(outside).scatter(1, order, outside), -math.inf)


def draw_filtered(
    scores: Tensor, shares: Tensor, *, temperature: float, k: int | None = None, p: float | None = None
) -> Tensor:
    """Draw ids (B,) from log-probabilities or logits (B, V). The reference that the kernel is tested against.

    Args:
        scores: in float64.
        shares: (B,), in [0, 1): which part of the probability comes before the token that is drawn.
        temperature: greater than 0.
        k: see `top_k`; None keeps all tokens.
        p: see `top_p`; None keeps all tokens.
    """
    kept = with_temperature(scores, temperature)
    if k is not None:
        kept = top_k(kept, k)
    if p is not None:
        kept = top_p(kept, p)
    sums = kept.softmax(dim=-1).cumsum(dim=-1)
    before = sums <= shares[:, None] * sums[:, -1:]
    # rounding may leave none above the goal; the sum of the last that is kept is that of all
    last = (sums < sums[:, -1:]).sum(dim=-1)
    return before.sum(dim=-1).minimum(last)


class Sampler:
    """Draws the next token.

    Args:
        temperature: divides the log-probabilities; 0 chooses the most probable token.
        top_k: see `top_k`; None keeps all tokens.
        top_p: see `top_p`; None keeps all tokens.
        banned: ids that are never drawn.

    Raises:
        UserError: when a value is out of range, of another type or cannot take effect.
    """

    def __init__(
        self,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        banned: Sequence[int] = (),
    ) -> None:
        # kernels take plain numbers
        temperature = real_of(temperature, "temperature")
        top_k = None if top_k is None else at_least_one(top_k, "top_k")
        top_p = None if top_p is None else real_of(top_p, "top_p")
        if not 0 <= temperature < math.inf:
            raise UserError(f"temperature must be at least 0 and finite (got {temperature})")
        if top_p is not None and not 0 < top_p <= 1:
            raise UserError(f"top_p must be greater than 0 and at most 1 (got {top_p})")
        for name, value in (("top_k", top_k), ("top_p", top_p)):
            if temperature == 0 and value is not None:
                raise UserError(f"{name} cannot take effect with temperature 0, which takes the most probable token")
        self.temperature = temperature
        self.top_k = top_k
        self.top_p = top_p
        self.banned = ids_of(banned, "banned")

    def __call__(self, scores: Tensor, generator: torch.Generator) -> Tensor:
        """Draw ids (B,).

        Args:
            scores: natural log-probabilities, or logits (B, V).
            generator: on the CPU; it is advanced by a number for each row, unless the temperature is 0.

        Raises:
            FloatingPointError: when a score is NaN.
            UserError: when a banned id is not in the vocabulary, or all ids are banned.
        """
        scores = scores.cpu()
        if self.banned:
            if max(self.banned) >= scores.shape[1]:
                most = scores.shape[1]
                raise UserError(f"banned: an id must be less than {most:,} (got {max(self.banned)})")
            if len(set(self.banned)) == scores.shape[1]:
                raise UserError(f"banned: at least one of the {scores.shape[1]:,} ids must be left to draw")
            scores = scores.index_fill(1, torch.tensor(self.banned), -math.inf)
        shares = torch.zeros(len(scores), dtype=torch.float64)
        if self.temperature:
            shares.uniform_(generator=generator)
        if has_draw(scores):
            drawn = draw(scores.contiguous(), shares, temperature=self.temperature, k=self.top_k, p=self.top_p)
            _check_numbers(drawn >= 0)
            return drawn
        # in float64, no temperature or probability that a user can enter becomes 0 or infinite
        scores = scores.double()
        _check_numbers(~scores.isnan())
        if self.temperature == 0:
            return scores.argmax(dim=-1)
        return draw_filtered(scores, shares, temperature=self.temperature, k=self.top_k, p=self.top_p)


def _check_numbers(are_numbers: Tensor) -> None:
    if not are_numbers.all():
        raise FloatingPointError("the model's probabilities are not numbers; its weights have run away")
