"""Weight drop of single entries, with a mask that is a function of a seed.

Whether entry i of a weight is kept depends on sixteen bits of a hash of the seed and i. So the kernel, which applies
the mask in one pass, needs no memory for it, in the forward and in the backward pass, and draws the same mask as
torch's operations. The hash is SplitMix64 (Steele, Lea & Flood, 2014, Fast splittable pseudorandom number generators).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .kernels.backend import outside_compiler
from .kernels.call import call
from .random_bits import is_mapped, random_bits

# the constants of SplitMix64 as signed integers
STEP, FIRST, SECOND = -7046029254386353131, -4658895280553007687, -7723592293110705685


def dropped_entries(weight: Tensor, rate: float, *, native: bool) -> Tensor:
    """A weight whose entries are zero with probability `rate`, and else scaled by 1 / (1 - rate).

    The rate is rounded to a multiple of 2**-16, and the scale matches the rounded rate. The seed is drawn from the
    global generator.

    Args:
        weight: any shape, on the CPU.
        rate: in [0, 1).
        native: use the C++ kernel, for the weights that it takes; the result is the same.
    """
    if is_mapped():
        # `vmap` may give each sample a mask of its own
        return weight * _kept(random_bits(-(-weight.numel() // 4)), weight.shape, rate, weight)
    seed = random_bits(1)
    if native and weight.dtype == torch.float32 and weight.is_contiguous() and not torch.compiler.is_compiling():
        dropped = outside_compiler(_Dropped.apply)
        found: Tensor = dropped(weight, seed, rate)  # type: ignore[no-untyped-call]
        return found
    return weight * entry_mask(weight.shape, seed, rate, weight)


def entry_mask(shape: Sequence[int], seed: Tensor, rate: float, like: Tensor) -> Tensor:
    """The readable reference of the mask: 0 or 1 / (1 - rate) for each entry of a shape.

    Args:
        shape: of the mask.
        seed: (1,), int64.
        rate: in [0, 1).
        like: a tensor with the dtype of the mask.
    """
    words = -(-torch.Size(shape).numel() // 4)
    # torch's compiler would take the overflow of the products, which the hash needs, for what cannot happen
    hashes = _compiled_hashes(seed, words) if torch.compiler.is_compiling() else _hashes(seed, words)
    return _kept(hashes, shape, rate, like)


def _kept(bits: Tensor, shape: Sequence[int], rate: float, like: Tensor) -> Tensor:
    """The mask by 16 random bits for each entry: `bits` has 64 in each, in as many as are needed."""
    smallest, scale = _bounds(rate)
    kept = bits.view(torch.int16)[: torch.Size(shape).numel()].view(tuple(shape)) >= smallest
    return kept.to(like.dtype).mul_(scale)


def _hashes(seed: Tensor, count: int) -> Tensor:
    """The hashes (count,) of a seed (1,) and 1, 2, ...; each has 64 bits for four entries."""
    state = torch.arange(1, count + 1).mul_(STEP).add_(seed)
    state = state.bitwise_xor_(_shifted(state, 30)).mul_(FIRST)
    state = state.bitwise_xor_(_shifted(state, 27)).mul_(SECOND)
    return state.bitwise_xor_(_shifted(state, 31))


@torch.library.custom_op("refrain::hashes", mutates_args=())
def _compiled_hashes(seed: Tensor, count: int) -> Tensor:
    return _hashes(seed, count)


@_compiled_hashes.register_fake
def _hashes_shape(seed: Tensor, count: int) -> Tensor:
    return seed.new_empty(count)


def _shifted(state: Tensor, bits: int) -> Tensor:
    """An unsigned shift to the right, of signed integers."""
    return (state >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def _bounds(rate: float) -> tuple[int, float]:
    """The smallest of 2**16 signed integers with which an entry is kept, and the scale of what is kept."""
    dropped = min(round(rate * 2**16), 2**16 - 1)
    return dropped - 2**15, 2**16 / (2**16 - dropped)


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, seed: Tensor, rate: float) -> Tensor:
        ctx.seed = seed
        ctx.rate = rate
        return _masked(weight, seed, rate)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        if torch.is_grad_enabled():
            # the gradient of a gradient
            return gradient * entry_mask(gradient.shape, ctx.seed, ctx.rate, gradient), None, None
        return _masked(gradient.contiguous(), ctx.seed, ctx.rate), None, None


def _masked(values: Tensor, seed: Tensor, rate: float) -> Tensor:
    """The product of values (any shape, float32, contiguous) and their mask."""
    smallest, scale = _bounds(rate)
    out = torch.empty_like(values)
    factor = torch.tensor([scale], dtype=torch.float32)
    if call("weight_drop", "weight_drop", values, seed, factor, out, values.numel(), smallest):
        return out
    return values * entry_mask(values.shape, seed, rate, values)
