"""Sums in half precision, which are computed in float32."""

import torch
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)


def widened(tensor: Tensor) -> Tensor:
    """A tensor of half precision in float32, in which sums of many entries are computed; others stay as they are."""
    return tensor.float() if tensor.dtype in HALF else tensor
