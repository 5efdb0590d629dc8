"""The cross-entropy of a linear layer, of a mixture or of blocks of them, with its gradient formed in the forward pass.

A language model's logits (tokens x vocabulary) are its largest activation, yet nothing needs them once the loss is
known: their gradient is softmax minus one-hot. So the gradient is formed at once, a chunk of rows at a time, in the
memory of the logits, and multiplied into the gradients of the inputs. The backward pass only scales these.

N tokens, D input width, V words in the vocabulary, K components of a mixture.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from refrain.nn.kernels.backend import TORCH, Backend, NativeFrom, outside_compiler
from refrain.nn.kernels.matmul import matmul
from refrain.nn.precision import widened

from .softmax_gradient import scaled, softmax_gradient_

CHUNK_LOGITS = 8_000_000
"""Logits in memory at once. Larger chunks save passes over the weight's gradient, smaller ones save memory."""

NATIVE_FROM = NativeFrom(cpu_float32=500_000, cpu_bf16=500_000)
"""Size of the largest weight from which a head trains by native kernels: for a smaller head, compiling them costs more
than it saves. On a GPU a head spends its time in large matmuls, which are torch's."""


def largest_parameter(module: torch.nn.Module) -> int:
    """The number of entries of a module's largest parameter."""
    return max(parameter.numel() for parameter in module.parameters())


def token_rows(hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """hidden (..., D) and targets (...) -> hidden (N, D) and targets (N,).

    Raises:
        ValueError: when there is not one target for each hidden vector, in the same order of dimensions.
    """
    if targets.shape != hidden.shape[:-1]:
        raise ValueError(
            f"hidden vectors of shape {tuple(hidden.shape)} need targets of shape {tuple(hidden.shape[:-1])} "
            f"(got {tuple(targets.shape)})"
        )
    return hidden.reshape(-1, hidden.shape[-1]), targets.reshape(-1)


def no_autocast(like: Tensor) -> AbstractContextManager[Any]:
    """A context without autocast on the device of a tensor; devices such as meta have none."""
    device = like.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def sum_dtype(weight: Tensor) -> torch.dtype:
    """The dtype of sums over many chunks, which need more precision than two bytes have."""
    return torch.promote_types(weight.dtype, torch.float32)


def linear_cross_entropy_reference(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """The readable reference: -log softmax(hidden @ weight.T + bias)[target], summed over tokens, in nats."""
    logits = torch.nn.functional.linear(hidden, weight, bias)  # (N, V)
    return torch.nn.functional.cross_entropy(logits, targets, reduction="sum")


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, *, backend: Backend = TORCH
) -> Tensor:
    """The sum over tokens of the cross-entropy in nats, as `linear_cross_entropy_reference`, in bounded memory.

    Args:
        hidden: (N, D).
        weight: (V, D).
        bias: (V,), or None for zeros.
        targets: (N,), int64 in [0, V).
        backend: what the head trains with.

    Returns:
        A scalar, in float32 at least, that can be differentiated once with respect to hidden, weight and bias.

    Raises:
        IndexError: when a target on a CPU is not in [0, V).
        ValueError: when targets have another shape.
    """
    return mixture_cross_entropy(hidden[:, None], None, weight, bias, targets, backend=backend)


def mixture_cross_entropy(
    latent: Tensor,
    prior: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    *,
    backend: Backend = TORCH,
) -> Tensor:
    """The sum over tokens of -log sum_k exp(prior_k) softmax(latent_k @ weight.T + bias)[target], in bounded memory.

    Args:
        latent: (N, K, D).
        prior: log-probabilities of the components (N, K), or None where K is 1.
        weight: (V, D).
        bias: (V,), or None for zeros.
        targets: (N,), int64 in [0, V).
        backend: what the head trains with.

    Returns:
        A scalar, in float32 at least, that can be differentiated once with respect to latent, prior, weight and bias.

    Raises:
        IndexError: when a target on a CPU is not in [0, V).
        ValueError: when targets have another shape.
    """
    if targets.shape != latent.shape[:1]:
        raise ValueError(f"targets have shape {tuple(targets.shape)}, {len(latent)} tokens need {(len(latent),)}")
    cross_entropy = outside_compiler(_CrossEntropy.apply)
    # under autocast, too, sums have the dtype of the weight
    with no_autocast(latent):
        latent = latent.to(weight.dtype)
        if prior is not None:
            prior = prior.to(weight.dtype)
        nats: Tensor = cross_entropy(backend, latent, prior, weight, bias, targets)  # type: ignore[no-untyped-call]
    return nats


def blocks_cross_entropy(
    hidden: Sequence[Tensor], weights: Sequence[Tensor], bias: Tensor, targets: Tensor, *, backend: Backend = TORCH
) -> Tensor:
    """The sum over tokens of the cross-entropy in nats, of logits in blocks side by side, in bounded memory.

    The logits of block b are hidden[b] @ weights[b].T, and the bias and the softmax are those of all blocks.

    Args:
        hidden: for each block (N, D_b).
        weights: for each block (V_b, D_b), of one dtype; V is the sum of V_b.
        bias: (V,).
        targets: (N,), int64 in [0, V).
        backend: what the head trains with.

    Returns:
        A scalar, in float32 at least, that can be differentiated once with respect to all hidden vectors, weights and
        the bias.

    Raises:
        IndexError: when a target on a CPU is not in [0, V).
        ValueError: when targets have another shape.
    """
    if targets.shape != hidden[0].shape[:1]:
        raise ValueError(f"targets have shape {tuple(targets.shape)}, {len(hidden[0])} tokens need {(len(hidden[0]),)}")
    cross_entropy = outside_compiler(_BlocksCrossEntropy.apply)
    # under autocast, too, sums have the dtype of the weights
    with no_autocast(targets):
        rows = [part.to(weights[0].dtype) for part in hidden]
        nats: Tensor = cross_entropy(backend, bias, *rows, *weights, targets)  # type: ignore[no-untyped-call]
    return nats


def token_nats(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """The nats of each target, (N,), in float32 at least, without a gradient and in bounded memory.

    Args:
        hidden: (N, D).
        weight: (V, D).
        bias: (V,).
        targets: (N,), int64 in [0, V).
    """
    rows = max(1, CHUNK_LOGITS // weight.shape[0])
    hidden = hidden.to(weight.dtype)
    with torch.no_grad(), no_autocast(weight):
        nats = []
        for h, words in zip(hidden.split(rows), targets.split(rows), strict=True):
            logits = widened(torch.addmm(bias, h, weight.T))
            nats.append(torch.logsumexp(logits, dim=-1) - logits.gather(1, words[:, None])[:, 0])
        return torch.cat(nats)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        backend: Backend,
        latent: Tensor,
        prior: Tensor | None,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
    ) -> Tensor:
        tokens, components, _ = latent.shape
        dtype = backend.matmul_dtype(weight)
        cast = weight.to(dtype)
        multiply = matmul if backend.native else torch.mm
        sums = sum_dtype(weight)
        nats = weight.new_zeros((), dtype=sums)
        d_latent = torch.empty(latent.shape, dtype=weight.dtype, device=weight.device)
        d_prior = None if prior is None else torch.zeros_like(prior)
        d_bias = None if bias is None else torch.zeros_like(bias, dtype=sums)
        d_weight = None if tokens else torch.zeros_like(weight)
        chunk = max(1, CHUNK_LOGITS // (weight.shape[0] * components))
        for start in range(0, tokens, chunk):
            now = slice(start, start + chunk)
            rows = latent[now].flatten(0, 1)  # (n * K, D)
            gradient = multiply(rows.to(dtype), cast.T)  # logits; softmax_gradient_ replaces them
            words = targets[now].repeat_interleave(components)
            totals = d_bias if prior is None else None
            row_nats = softmax_gradient_(gradient, bias, words, totals, native=backend.native)
            d_rows = d_latent[now].flatten(0, 1)
            d_rows.copy_(multiply(gradient, cast))
            shares = None
            if prior is None:
                nats += row_nats.sum()
            else:
                # each component gets its share of a token's gradient: its part of the target's probability
                joint = prior[now] - row_nats.view(-1, components)
                total = joint.logsumexp(dim=-1, keepdim=True)
                shares = (joint - total).exp().view(-1, 1)
                nats -= total.sum()
                assert d_prior is not None
                d_prior[now] = -shares.view(-1, components)
                d_rows *= shares
                rows = rows * shares
            part = multiply(gradient.T, rows.to(dtype))
            d_weight = part if d_weight is None else d_weight.to(sums).add_(part)
            if d_bias is not None and shares is not None:
                d_bias += _weighed(gradient, shares)
        assert d_weight is not None
        ctx.gradients = d_latent, d_prior, d_weight, d_bias
        ctx.native, ctx.as_formed = backend.native, _any_dtype(weight)
        return nats

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        return None, *_formed(ctx, grad_output), None


class _BlocksCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, backend: Backend, bias: Tensor, *parts: Tensor) -> Tensor:
        blocks, targets = len(parts) // 2, parts[-1]
        hidden, weights = parts[:blocks], parts[blocks:-1]
        dtype = backend.matmul_dtype(weights[0])
        cast = [weight.to(dtype) for weight in weights]
        multiply = matmul if backend.native else torch.mm
        ends = list(accumulate(len(weight) for weight in weights))
        columns = [slice(end - len(weight), end) for weight, end in zip(weights, ends, strict=True)]
        sums = sum_dtype(bias)
        nats = bias.new_zeros((), dtype=sums)
        d_bias = torch.zeros_like(bias, dtype=sums)
        d_hidden = [torch.empty_like(part, memory_format=torch.contiguous_format) for part in hidden]
        d_weights = [torch.zeros_like(weight, dtype=sums) for weight in weights]
        chunk = max(1, CHUNK_LOGITS // ends[-1])
        for start in range(0, len(targets), chunk):
            now = slice(start, start + chunk)
            rows = [part[now].to(dtype) for part in hidden]
            # logits; softmax_gradient_ replaces them
            gradient = torch.cat([multiply(row, weight.T) for row, weight in zip(rows, cast, strict=True)], dim=1)
            nats += softmax_gradient_(gradient, bias, targets[now], d_bias, native=backend.native).sum()
            for row, weight, own, d_row, d_weight in zip(rows, cast, columns, d_hidden, d_weights, strict=True):
                d_row[now] = multiply(gradient[:, own], weight)
                d_weight += multiply(gradient[:, own].T, row)
        ctx.gradients = d_bias, *d_hidden, *d_weights
        ctx.as_formed = False
        ctx.native = backend.native
        return nats

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        return None, *_formed(ctx, grad_output), None


def _formed(ctx: Any, grad_output: Tensor) -> list[Tensor | None]:
    """The gradients that the forward pass has formed, times that of its result."""
    if torch.is_grad_enabled():
        # they are constants to autograd, so that a second derivative would be wrong or missing
        raise RuntimeError(
            "the loss of a head has no second derivative; call backward without create_graph, or make the loss of "
            "head.log_probabilities(hidden)"
        )
    if ctx.gradients is None:
        raise RuntimeError("the loss of a head can be differentiated once; call the head again for another backward")
    # scaled in place: another copy of the weight's gradient would cost a pass over memory
    gradients: list[Tensor | None] = []
    for part in ctx.gradients:
        kept = ctx.as_formed and part is not None and part.dtype == torch.bfloat16
        found = None if part is None else scaled(part, grad_output, native=ctx.native, in_place=kept)
        gradients.append(found)
    ctx.gradients = None
    return gradients


def _any_dtype(weight: Tensor) -> bool:
    """Whether the gradient of a weight may stay in the dtype of the matmul, without a copy in float32."""
    return weight.is_leaf and weight.grad_dtype is None


def _weighed(gradient: Tensor, shares: Tensor) -> Tensor:
    """The sum of a gradient's rows (N, V), each times its share (N, 1)."""
    return torch.mm(gradient.T, shares.to(gradient.dtype))[:, 0].to(shares.dtype)
