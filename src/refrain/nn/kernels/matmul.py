"""Large matrix multiplications on a CPU, by the faster of torch's two libraries."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .backend import outside_autocast
from .workspace import Workspace


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """a (N, K) @ b (K, M) -> (N, M), without a gradient.

    torch uses MKL for float32 on a CPU, which on processors of other makers than its own reaches two thirds of the rate
    of oneDNN; for bfloat16 it uses oneDNN already.

    Args:
        a: float32 or bfloat16, any strides.
        b: of the same dtype.
    """
    if a.dtype == torch.float32 and a.device.type == "cpu" and _one_dnn is not None and a.numel() and b.numel():
        return _one_dnn(a, b.T, None, "none", [], "")
    return _mm(a, b)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (N, K) @ weight.T (K, R) + bias (R,), without a gradient; float32, by the library that `matmul` uses.

    Args:
        x: float32, any strides.
        weight: (R, K), float32.
        bias: (R,), or None.
    """
    if x.device.type == "cpu" and _one_dnn is not None and x.numel() and weight.numel():
        return _one_dnn(x, weight, bias, "none", [], "")
    return _linear(x, weight, bias)


def weight_gradients(d_outputs: Tensor, inputs: Sequence[Tensor], workspace: Workspace) -> list[Tensor]:
    """The gradients of weights (R, C) over all steps of a window, each as one float32 matrix.

    oneDNN reads float32 in the other order, so the gradient is transposed, once for all weights.

    Args:
        d_outputs: (T, B, R), the gradient of the sum of inputs @ weight.T.
        inputs: of each weight, (T, B, C).
        workspace: whose buffers are used for scratch memory.
    """
    rows = d_outputs.flatten(0, 1).T
    scratch = workspace.another()
    if rows.dtype == torch.float32 and rows.device.type == "cpu":
        rows = scratch.allocate(rows.shape).copy_(rows)
    gradients = [matmul(rows, own.flatten(0, 1)).float() for own in inputs]
    scratch.release()
    return gradients


def _find_one_dnn() -> Callable[..., Tensor] | None:
    """The operator behind torch's compiled linear layers, or None if this torch has none."""
    if not torch.backends.mkldnn.is_available():
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)


_one_dnn = _find_one_dnn()
_mm = outside_autocast(torch.mm)
_linear = outside_autocast(F.linear)
