"""Cross-entropy as perplexity."""

import math

# exp of more overflows a float of 64 bits
LARGEST = 700


def perplexity(nats_per_token: float) -> float:
    """exp of the nats per token; infinite where that overflows."""
    return math.exp(nats_per_token) if nats_per_token < LARGEST else math.inf
