"""Large matrix products on a processor, by whichever library of torch's is the faster."""

from collections.abc import Callable

import torch
from torch import Tensor


def product(a: Tensor, b: Tensor) -> Tensor:
    """a (N, K) @ b (K, M) -> (N, M), without a gradient.

    torch takes float32 products on a processor to MKL, which on processors of other makers reaches two thirds of what
    oneDNN does; bfloat16 products go to oneDNN by themselves.

    Args:
        a: float32 or bfloat16 on a processor, any strides.
        b: of the same type.
    """
    if a.dtype == torch.float32 and a.device.type == "cpu" and _one_dnn is not None and a.numel() and b.numel():
        return _one_dnn(a, b.T, None, "none", [], "")
    if a.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        # which would round float32
        with torch.autocast("cpu", enabled=False):
            return torch.mm(a, b)
    return torch.mm(a, b)


def _find() -> Callable[..., Tensor] | None:
    """The operator behind torch's compiled linear layers, or None in a torch that has none."""
    if not torch.backends.mkldnn.is_available():
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)


_one_dnn = _find()
