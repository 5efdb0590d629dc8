"""Sums in half precision, which are computed in float32."""

import torch
from torch import Tensor


def widened(tensor: Tensor) -> Tensor:
    """A tensor of half precision in float32, in which sums of many entries are computed; others stay as they are."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
