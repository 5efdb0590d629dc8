"""The second bias of a GRU, which is zero but for the candidate.

H hidden width.
"""

import torch
from torch import Tensor


def recurrent_bias(bias: Tensor, bias_hn: Tensor | None = None) -> Tensor:
    """The second bias (3H,) of cuDNN's layout: zeros for both gates, and that of the candidate.

    Args:
        bias: (3H,).
        bias_hn: (H,); None is zero.
    """
    zeros = torch.zeros_like(bias)
    return zeros if bias_hn is None else torch.cat([zeros[len(bias_hn) :], bias_hn])
