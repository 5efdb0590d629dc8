"""The cross-entropy of a linear layer, with its gradient formed in the forward pass.

A language model's logits (tokens x vocabulary) are its largest activation, yet nothing needs them once the loss is
known: the gradient is the softmax less one at the target. So it is formed at once, a chunk of rows at a time, in the
memory of the logits, and multiplied into the gradients of the inputs. The backward pass only scales them.

N tokens, D input width, V words in the vocabulary.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_LOGITS = 8_000_000
"""Logits held at once. Larger chunks save passes over the weight's gradient, smaller ones save memory."""


def linear_cross_entropy_reference(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """The readable truth: -log softmax(hidden @ weight.T + bias)[target], summed over tokens, in nats."""
    logits = hidden @ weight.T + bias  # (N, V)
    return torch.nn.functional.cross_entropy(logits, targets, reduction="sum")


def linear_cross_entropy(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """The sum over tokens of the cross-entropy in nats, as `linear_cross_entropy_reference`, in bounded memory.

    Args:
        hidden: (N, D).
        weight: (V, D).
        bias: (V,).
        targets: (N,), int64 in [0, V).

    Returns:
        A scalar that can be differentiated once with respect to hidden, weight and bias.
    """
    # under autocast too the sums are those of the weight's type
    with torch.autocast(hidden.device.type, enabled=False):
        hidden = hidden.to(weight.dtype)
        return _LinearCrossEntropy.apply(hidden, weight, bias, targets)  # type: ignore[no-any-return, no-untyped-call]


def token_nats(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """The nats of each target, (N,), without a gradient and in bounded memory. Arguments as above."""
    rows = _rows(weight)
    with torch.no_grad():
        nats = []
        for h, wanted in zip(hidden.split(rows), targets.split(rows), strict=True):
            logits = torch.addmm(bias, h, weight.T)
            nats.append(torch.logsumexp(logits, dim=-1) - logits.gather(1, wanted[:, None])[:, 0])
        return torch.cat(nats)


def _rows(weight: Tensor) -> int:
    return max(1, CHUNK_LOGITS // weight.shape[0])


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        if not any(ctx.needs_input_grad):
            return token_nats(hidden, weight, bias, targets).sum()
        rows, start = _rows(weight), 0
        nats = hidden.new_zeros(())
        grad_hidden, grad_weight = torch.empty_like(hidden), torch.empty_like(weight)
        grad_bias = torch.zeros_like(bias)
        for h, wanted in zip(hidden.split(rows), targets.split(rows), strict=True):
            logits = torch.addmm(bias, h, weight.T)
            gradient = logits.softmax(dim=-1)
            # the largest probability never underflows, so that this normaliser is exact
            normaliser = logits.amax(dim=-1) - gradient.amax(dim=-1).log()
            nats += (normaliser - logits.gather(1, wanted[:, None])[:, 0]).sum()
            gradient[torch.arange(len(wanted), device=wanted.device), wanted] -= 1
            torch.mm(gradient, weight, out=grad_hidden[start : start + len(h)])
            if start:
                grad_weight.addmm_(gradient.T, h)
            else:
                torch.mm(gradient.T, h, out=grad_weight)
            grad_bias += gradient.sum(0)
            start += len(h)
        ctx.gradients = (grad_hidden, grad_weight, grad_bias)
        return nats

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        if ctx.gradients is None:
            raise RuntimeError("linear_cross_entropy can be differentiated once; run the forward pass again")
        # scaled in place and handed over: another copy of the weight's gradient would cost a pass over memory
        grad_hidden, grad_weight, grad_bias = (gradient.mul_(grad_output) for gradient in ctx.gradients)
        ctx.gradients = None
        return grad_hidden, grad_weight, grad_bias, None
