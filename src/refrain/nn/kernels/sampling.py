"""Drawing a token for each row of logits on a CPU; the kernel is in cpp/sampling.cpp.

B rows, V tokens in the vocabulary.
"""

import torch
from torch import Tensor

from . import compile as native
from .call import kernel

# the reciprocals of all temperatures as positive floats: a difference of logits times one of them is not NaN
LEAST, MOST = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).max


def has_draw(scores: Tensor) -> bool:
    """Whether the kernel exists and takes log-probabilities or logits: float32 on a CPU."""
    return scores.dtype == torch.float32 and scores.device.type == "cpu" and native.load("sampling") is not None


def draw(scores: Tensor, shares: Tensor, *, temperature: float, k: int | None, p: float | None) -> Tensor:
    """Draw ids (B,), or -1 for a row with a NaN or without a finite score.

    The words whose exponentials are computed are those that top-k leaves.

    Args:
        scores: log-probabilities or logits (B, V), float32 and contiguous.
        shares: (B,) in float64, in [0, 1): which part of the probability comes before the token that is drawn.
        temperature: 0 takes the most probable token.
        k: how many of the most probable tokens are kept, and ties with the last; None keeps all.
        p: the probability of the tokens that are kept; None keeps all.
    """
    # 1 / 5e-324 is infinite
    inverse = min(max(1 / max(temperature, 1e-300), LEAST), MOST) if temperature else 0.0
    settings = torch.tensor([inverse, 1.0 if p is None else p], dtype=torch.float64)
    drawn = torch.empty(len(scores), dtype=torch.int64)
    kernel("sampling", "sampling_draw")(scores, shares, settings, drawn, min(k or 0, scores.shape[1]), *scores.shape)
    return drawn
