"""Dropout whose mask outlives a step: locked over time, held until resampled, or one for each word type.

Gal & Ghahramani (2016), A Theoretically Grounded Application of Dropout in RNNs; Merity et al. (2018), sections 4.2
and 4.3. All masks are scaled by 1 / (1 - rate), so that evaluation needs no scaling.

T steps in the window, B batch, D width, V words in the vocabulary.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from .columns import Part, present_part
from .random_bits import random_bits


def checked_rate(rate: float) -> float:
    """Return the rate if it is valid.

    Raises:
        ValueError: when it is not in [0, 1).
    """
    if not 0 <= rate < 1:
        raise ValueError(f"a dropout rate must be at least 0 and less than 1 (got {rate})")
    return rate


def dropout_mask(shape: Sequence[int], rate: float, like: Tensor, *, columns_dim: int | None = None) -> Tensor:
    """Zeros with probability `rate`, else 1 / (1 - rate), drawn from the global generator.

    On a CPU the rate is rounded to a multiple of 2**-16, and the scale matches the rounded rate.

    Args:
        shape: of the mask.
        rate: in [0, 1).
        like: a tensor with the dtype and the device of the mask.
        columns_dim: the dimension of the columns of a batch, whose masks are independent; None if there is none. Where
            several processes share a batch, see `refrain.nn.columns`, the masks of all columns are drawn.
    """
    part = None if columns_dim is None else present_part()
    if part is None:
        return _drawn(shape, rate, like)
    assert columns_dim is not None
    _check_columns(shape, columns_dim, part)
    whole = list(shape)
    whole[columns_dim] = part.columns.total
    return part.columns.of(_drawn(whole, rate, like), columns_dim)


def _drawn(shape: Sequence[int], rate: float, like: Tensor) -> Tensor:
    if like.device.type != "cpu":
        return like.new_empty(shape).bernoulli_(1 - rate).div_(1 - rate)
    # sixteen random bits per entry, four entries per draw: eight times as fast as one Bernoulli draw per entry
    count = math.prod(shape)
    draws = random_bits(-(-count // 4))
    dropped = min(round(rate * 2**16), 2**16 - 1)
    kept = draws.view(torch.int16)[:count].view(tuple(shape)) >= dropped - 2**15
    return kept.to(like.dtype).mul_(2**16 / (2**16 - dropped))


class Dropout(nn.Dropout):
    """Dropout of single entries, as torch's, with masks that a CPU draws in a fifth of the time.

    With `inplace=True`, the entries of the inputs themselves are dropped.

    Args:
        p: the rate, in [0, 1].
        inplace: whether the inputs are changed.

    Raises:
        ValueError: when the rate is out of range.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        # torch compares with each bound alone, which NaN passes
        if not 0 <= p <= 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        super().__init__(p, inplace)

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs (T, B, D) -> the same shape, with entries dropped; inputs themselves in evaluation."""
        if not self.training or not self.p:
            return inputs
        if self.p == 1 or inputs.device.type != "cpu":
            return torch_dropout(inputs, self.p, inplace=self.inplace)
        mask = dropout_mask(inputs.shape, self.p, inputs, columns_dim=inputs.ndim - 2)
        return inputs.mul_(mask) if self.inplace else inputs * mask


class DropoutOfColumns(nn.Dropout):
    """torch's dropout, with its random numbers, where several processes share a batch; see `refrain.nn.columns`."""

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs (T, B, D) -> the same shape, with entries dropped; inputs themselves in evaluation."""
        return torch_dropout(inputs, self.p, inplace=self.inplace) if self.training else inputs


def torch_dropout(inputs: Tensor, rate: float, *, inplace: bool = False) -> Tensor:
    """inputs (T, B, D) -> the same shape, with entries dropped by the random numbers that torch draws.

    Args:
        inputs: of the columns of this process.
        rate: in [0, 1].
        inplace: whether the inputs are changed.
    """
    part = present_part()
    if part is None or rate == 1:
        return nn.functional.dropout(inputs, rate, inplace=inplace)
    _check_columns(inputs.shape, 1, part)
    whole = inputs.new_empty(inputs.shape[0], part.columns.total, *inputs.shape[2:])
    mask = part.columns.of(whole.bernoulli_(1 - rate).div_(1 - rate))
    return inputs.mul_(mask) if inplace else inputs * mask


def _check_columns(shape: Sequence[int], dim: int, part: Part) -> None:
    """Check that a mask has the columns of this process, without which it would be that of other units."""
    if len(shape) < 3 or shape[dim] != part.columns.number:
        raise ValueError(
            f"a dropout needs inputs (T, B, D) with B={part.columns.number} where several processes train one model "
            f"(got {tuple(shape)}); apply it before time and batch are flattened"
        )


class LockedDropout(nn.Module):
    """Dropout with one mask per window: the same units of a sequence are dropped at every step (variational dropout).

    Args:
        rate: in [0, 1).

    Raises:
        ValueError: when the rate is out of range.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = checked_rate(rate)

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs (T, B, D) -> the same shape, times a fresh mask (1, B, D); inputs themselves in evaluation.

        Raises:
            ValueError: in training, when inputs have fewer dimensions, such as those of a single step.
        """
        if not self.training or not self.rate:
            return inputs
        if inputs.ndim < 3:
            raise ValueError(
                f"LockedDropout needs inputs (T, B, D), got {tuple(inputs.shape)}; for single steps in training use "
                "VariationalDropout, whose mask stays until resample()"
            )
        return inputs * dropout_mask((1, *inputs.shape[1:]), self.rate, inputs, columns_dim=1)

    def extra_repr(self) -> str:
        """The rate, for print."""
        return f"rate={self.rate}"


class HeldMask(nn.Module):
    """A mask that stays until it is drawn anew; part of the state dict, so that it survives copies and restarts.

    Args:
        rate: in [0, 1).

    Raises:
        ValueError: when the rate is out of range.
    """

    mask: Tensor
    # whether the mask was drawn by `resample()` and not used yet
    _unused = False

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = checked_rate(rate)
        self.register_buffer("mask", torch.empty(0))

    def resample(self) -> None:
        """Draw a new mask of the shape of the last one.

        Before the first use, and where the next use needs another shape, that use draws it. So a use that
        `torch.utils.checkpoint` repeats finds the mask that it had, and draws no random numbers.
        """
        if self.mask.numel():
            self._draw(self.mask.shape, self.mask)
            self._unused = True

    def _draw(self, shape: Sequence[int], like: Tensor) -> None:
        # so that a later training can use it, too
        plain = torch.compiler.is_compiling() or not torch.is_inference_mode_enabled()
        with nullcontext() if plain else torch.inference_mode(False):
            self.mask = dropout_mask(shape, self.rate, like)

    def forward(self, inputs: Tensor, shape: Sequence[int]) -> Tensor:
        """Multiply with the held mask, which is drawn at the first use; the result has the dtype of the inputs.

        Args:
            inputs: the tensor that is masked.
            shape: of the mask, broadcast over the inputs.

        Raises:
            ValueError: when the held mask has another shape.
        """
        fits = tuple(self.mask.shape) == tuple(shape)
        if not self.mask.numel() or (self._unused and not fits):
            self._draw(shape, inputs)
        elif not fits:
            raise ValueError(
                f"the held mask is for shape {tuple(self.mask.shape)}, the input needs {tuple(shape)}; "
                "call resample() when batch or width change"
            )
        self._unused = False
        return inputs * self.mask.to(inputs.dtype)

    def extra_repr(self) -> str:
        """The rate, for print."""
        return f"rate={self.rate}"

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        if prefix + "mask" not in state_dict:
            # of a layer without a held mask; the next use draws one
            self.mask = self.mask.new_empty(0)
            return
        # the shape is known only once the mask is loaded
        self.mask = self.mask.new_empty(state_dict[prefix + "mask"].shape)
        # a next use of another shape draws another one
        self._unused = True
        super()._load_from_state_dict(state_dict, prefix, *rest)


class VariationalDropout(nn.Module):
    """Locked dropout for your own loop: the mask stays, over steps and calls, until `resample()`.

    Args:
        rate: in [0, 1).

    Raises:
        ValueError: when the rate is out of range.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.held = HeldMask(rate)

    def resample(self) -> None:
        """Draw another mask at the next use; call it once a window or sequence."""
        self.held.resample()

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs (..., B, D) -> the same shape, times the held mask (B, D); inputs themselves in evaluation.

        Raises:
            ValueError: when batch or width are not those of the held mask.
        """
        if not self.training or not self.held.rate:
            return inputs
        masked: Tensor = self.held(inputs, inputs.shape[-2:])
        return masked

    def extra_repr(self) -> str:
        """The rate, for print."""
        return f"rate={self.held.rate}"


class EmbeddingDropout(nn.Module):
    """Drops word types: the vector of a dropped word is zero at each of its occurrences in the window.

    No word is exempt.

    Args:
        rate: in [0, 1).

    Raises:
        ValueError: when the rate is out of range.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = checked_rate(rate)

    def forward(self, vectors: Tensor, ids: Tensor, vocabulary_size: int) -> Tensor:
        """Multiply each vector with its word's mask, one draw a window; vectors themselves in evaluation.

        Args:
            vectors: (T, B, D).
            ids: (T, B), the words of the vectors.
            vocabulary_size: V.
        """
        if not self.training or not self.rate:
            return vectors
        mask = dropout_mask((vocabulary_size, 1), self.rate, vectors)
        return vectors * nn.functional.embedding(ids, mask)

    def extra_repr(self) -> str:
        """The rate, for print."""
        return f"rate={self.rate}"
