"""The perplexity of a cross-entropy."""

import math

# the exponential of a larger number overflows float64
LARGEST = 700


def perplexity(nats_per_token: float) -> float:
    """The exponential of the nats per token; infinity if it overflows."""
    return math.exp(nats_per_token) if nats_per_token < LARGEST else math.inf
