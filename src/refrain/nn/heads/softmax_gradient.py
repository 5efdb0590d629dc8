"""The cross-entropy of rows of logits, whose gradient replaces the logits in memory.

N rows, V words in the vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from refrain.nn.ids import check_ids
from refrain.nn.kernels.call import call

FUNCTIONS = {torch.float32: "softmax_gradient_float32", torch.bfloat16: "softmax_gradient_bf16"}


def softmax_gradient_(
    logits: Tensor, bias: Tensor | None, targets: Tensor, totals: Tensor | None = None, *, native: bool
) -> Tensor:
    """The cross-entropy of each row; the logits are replaced by its gradient, softmax minus one-hot.

    Args:
        logits: (N, V), contiguous, without the bias; overwritten.
        bias: (V,), or None for zeros.
        targets: (N,), int64 in [0, V).
        totals: (V,), to which the sum of the gradient over rows is added, or None.
        native: use the C++ kernel, a single pass over memory, for the dtypes and devices that it takes.

    Returns:
        The nats (N,), float32 where the logits have two bytes.

    Raises:
        IndexError: when a target on a CPU is not in [0, V).
    """
    check_ids("targets", targets, logits.shape[1])
    vectors = [vector for vector in (bias, totals) if vector is not None]
    if native and _fits(logits, vectors) and targets.shape == logits.shape[:1]:
        targets = targets.to(torch.int64).contiguous()
        bias = None if bias is None else bias.contiguous()
        nats = torch.empty(len(logits), dtype=torch.float32, device=logits.device)
        if call("softmax", FUNCTIONS[logits.dtype], logits, bias, targets, nats, totals, *logits.shape):
            return nats
    return softmax_gradient_reference_(logits, bias, targets, totals)


def _fits(logits: Tensor, vectors: Sequence[Tensor]) -> bool:
    """Whether the kernel takes these logits, and bias and totals with them."""
    return (
        logits.device.type == "cpu"
        and logits.dtype in FUNCTIONS
        and logits.numel() > 0
        and logits.is_contiguous()
        and all(vector.dtype == torch.float32 and vector.shape == logits.shape[1:] for vector in vectors)
    )


def softmax_gradient_reference_(
    logits: Tensor, bias: Tensor | None, targets: Tensor, totals: Tensor | None = None
) -> Tensor:
    """The readable reference in torch's operations; see `softmax_gradient_` for arguments and result."""
    scores = logits.float() if logits.dtype.itemsize == 2 else logits
    scores = scores if bias is None else scores + bias
    gradient = scores.softmax(dim=-1)
    # the largest probability never underflows, so that this normaliser is exact
    normalisers = scores.amax(dim=-1) - gradient.amax(dim=-1).log()
    nats = normalisers - scores.gather(1, targets[:, None])[:, 0]
    gradient[torch.arange(len(targets), device=targets.device), targets] -= 1
    logits.copy_(gradient)
    if totals is not None:
        totals += gradient.sum(0)
    return nats


def scaled(gradient: Tensor, factor: Tensor, *, native: bool, in_place: bool = False) -> Tensor:
    """A gradient times a scalar, in the scalar's dtype; computed in place if the gradient has that dtype.

    Args:
        gradient: any shape, contiguous; may be overwritten.
        factor: a scalar.
        native: use the C++ kernel, which is a single pass over memory.
        in_place: keep the gradient's dtype.
    """
    fits = gradient.dtype == torch.bfloat16 and factor.dtype == torch.float32 and gradient.device.type == "cpu"
    if in_place and native and fits and call("softmax", "scaled_bf16_in_place", gradient, factor, gradient.numel()):
        return gradient
    if in_place or gradient.dtype == factor.dtype:
        return gradient.mul_(factor)
    out = torch.empty(gradient.shape, dtype=factor.dtype, device=gradient.device)
    if native and fits and call("softmax", "scaled_bf16", gradient, factor, out, gradient.numel()):
        return out
    return out.copy_(gradient).mul_(factor)
