"""The cross-entropy of a linear layer, or of a mixture of such, with its gradient formed in the forward pass.

A language model's logits (tokens x vocabulary) are its largest activation, yet nothing needs them once the loss is
known: the gradient is the softmax less one at the target. So it is formed at once, a chunk of rows at a time, in the
memory of the logits, and multiplied into the gradients of the inputs. The backward pass only scales them.

N tokens, D input width, V words in the vocabulary, K components of a mixture.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from refrain.nn.kernels.backend import PLAIN, Engine
from refrain.nn.kernels.matmul import product
from refrain.nn.recurrent.protocol import run_kernel

from .softmax_gradient import scaled, softmax_gradient_

CHUNK_LOGITS = 8_000_000
"""Logits held at once. Larger chunks save passes over the weight's gradient, smaller ones save memory."""


def linear_cross_entropy_reference(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """The readable truth: -log softmax(hidden @ weight.T + bias)[target], summed over tokens, in nats."""
    logits = torch.nn.functional.linear(hidden, weight, bias)  # (N, V)
    return torch.nn.functional.cross_entropy(logits, targets, reduction="sum")


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, *, engine: Engine = PLAIN
) -> Tensor:
    """The sum over tokens of the cross-entropy in nats, as `linear_cross_entropy_reference`, in bounded memory.

    Args:
        hidden: (N, D).
        weight: (V, D).
        bias: (V,), or None for zeros.
        targets: (N,), int64 in [0, V).
        engine: the means and the precision of the products.

    Returns:
        A scalar that can be differentiated once with respect to hidden, weight and bias.
    """
    return mixture_cross_entropy(hidden[:, None], None, weight, bias, targets, engine=engine)


def mixture_cross_entropy(
    latent: Tensor,
    prior: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    *,
    engine: Engine = PLAIN,
) -> Tensor:
    """The sum over tokens of -log sum_k exp(prior_k) softmax(latent_k @ weight.T + bias)[target], in bounded memory.

    Args:
        latent: (N, K, D).
        prior: log-probabilities of the components (N, K), or None where K is 1.
        weight: (V, D).
        bias: (V,), or None for zeros.
        targets: (N,), int64 in [0, V).
        engine: the means and the precision of the products.

    Returns:
        A scalar that can be differentiated once with respect to latent, prior, weight and bias.
    """
    # under autocast too the sums are those of the weight's type
    with torch.autocast(latent.device.type, enabled=False):
        latent, prior = latent.to(weight.dtype), None if prior is None else prior.to(weight.dtype)
        nats: Tensor = run_kernel(_CrossEntropy.apply, engine, latent, prior, weight, bias, targets)
    return nats


def token_nats(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """The nats of each target, (N,), without a gradient, in the weight's precision and in bounded memory.

    Args:
        hidden: (N, D).
        weight: (V, D).
        bias: (V,).
        targets: (N,), int64 in [0, V).
    """
    rows = max(1, CHUNK_LOGITS // weight.shape[0])
    with torch.no_grad():
        nats = []
        for h, wanted in zip(hidden.split(rows), targets.split(rows), strict=True):
            logits = torch.addmm(bias, h, weight.T)
            nats.append(torch.logsumexp(logits, dim=-1) - logits.gather(1, wanted[:, None])[:, 0])
        return torch.cat(nats)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        engine: Engine,
        latent: Tensor,
        prior: Tensor | None,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
    ) -> Tensor:
        tokens, components, _ = latent.shape
        # operands of the products; float64 is never rounded down
        kind = torch.bfloat16 if engine.bf16 and weight.dtype == torch.float32 else weight.dtype
        operand = weight.to(kind)
        multiply = product if engine.kernels else torch.mm
        nats = weight.new_zeros(())
        d_latent = torch.empty(latent.shape, dtype=weight.dtype, device=weight.device)
        d_prior, d_bias = (None if tensor is None else tensor.new_zeros(tensor.shape) for tensor in (prior, bias))
        d_weight = torch.zeros_like(weight) if not tokens else None
        chunk = max(1, CHUNK_LOGITS // (weight.shape[0] * components))
        for start in range(0, tokens, chunk):
            here = slice(start, start + chunk)
            rows = latent[here].flatten(0, 1)  # (n * K, D)
            gradient = multiply(rows.to(kind), operand.T)
            wanted = targets[here].repeat_interleave(components)
            totals = d_bias if prior is None else None
            each = softmax_gradient_(gradient, bias, wanted, totals, kernels=engine.kernels)
            d_rows = d_latent[here].flatten(0, 1)
            d_rows.copy_(multiply(gradient, operand))
            shares = None
            if prior is None:
                nats += each.sum()
            else:
                # a token's gradient reaches a component by the share that it has in the target's probability
                joint = prior[here] - each.view(-1, components)
                total = joint.logsumexp(dim=-1, keepdim=True)
                shares = (joint - total).exp().view(-1, 1)
                nats -= total.sum()
                assert d_prior is not None
                d_prior[here] = -shares.view(-1, components)
                d_rows *= shares
                rows = rows * shares
            part = multiply(gradient.T, rows.to(kind))
            d_weight = part if d_weight is None else d_weight.to(weight.dtype).add_(part)
            if d_bias is not None and shares is not None:
                d_bias += _weighed(gradient, shares)
        assert d_weight is not None
        ctx.gradients, ctx.kernels = (d_latent, d_prior, d_weight, d_bias), engine.kernels
        return nats

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("linear_cross_entropy can be differentiated once; run the forward pass again")
        # scaled and handed over: another copy of the weight's gradient would cost a pass over memory
        gradients = [None if part is None else scaled(part, grad_output, kernels=ctx.kernels) for part in ctx.gradients]
        ctx.gradients = None
        return None, *gradients, None


def _weighed(gradient: Tensor, shares: Tensor) -> Tensor:
    """The sum of a gradient's rows (N, V), each times its share (N, 1)."""
    return torch.mm(gradient.T, shares.to(gradient.dtype))[:, 0].to(shares.dtype)
