"""Transforms of a weight before it is used; the stored weight and its name in a checkpoint stay as they are.

Weight drop: Wan et al. (2013), DropConnect; on the recurrent weight of an LSTM: Merity et al. (2018), section 2.
Weight norm: Salimans & Kingma (2016), equation 2; on the matrices of a multiplicative LSTM: Radford et al. (2017).
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from refrain.axes import Axis, AxisTable
from refrain.nn.precision import widened

from .dropout import HeldMask, checked_rate, dropout_mask
from .weight_mask import dropped_entries


class WeightDropout(nn.Module):
    """DropConnect: entries of a weight are zero for a window, the others scaled by 1 / (1 - rate).

    Gradients reach the stored weight through the kept entries only. Nothing is dropped in evaluation.

    Args:
        rate: in [0, 1).
        granularity: `entry` drops single entries, `row` whole rows (a gate's input to one unit).
        held: keep the mask until `resample()`, instead of a fresh one each time.

    Attributes:
        native: mask single entries by the C++ kernel, where there is one; the mask is the same.

    Raises:
        ValueError: when the rate is out of range.
    """

    # the default for modules that an earlier version pickled
    native = False

    def __init__(self, rate: float, *, granularity: Literal["entry", "row"] = "entry", held: bool = False) -> None:
        super().__init__()
        if granularity not in ("entry", "row"):
            raise ValueError(f"granularity must be 'entry' or 'row' (got {granularity!r})")
        self.rate = checked_rate(rate)
        self.granularity = granularity
        self.held = HeldMask(rate) if held else None

    def resample(self) -> None:
        """Draw another mask at the next use.

        Raises:
            ValueError: when the mask is not held.
        """
        if self.held is None:
            raise ValueError("resample() is for a held mask; without held=True every window draws its own")
        self.held.resample()

    def forward(self, weight: Tensor) -> Tensor:
        """weight (R, ...) -> the weight to use, of the same shape."""
        if not self.training or not self.rate:
            return weight
        shape = weight.shape if self.granularity == "entry" else (len(weight), *[1] * (weight.ndim - 1))
        if self.held is not None:
            masked: Tensor = self.held(weight, shape)
            return masked
        if self.granularity == "entry" and weight.device.type == "cpu":
            return dropped_entries(weight, self.rate, native=self.native)
        return weight * dropout_mask(shape, self.rate, weight)

    def extra_repr(self) -> str:
        """The settings, for print."""
        return f"rate={self.rate}, granularity={self.granularity!r}, held={self.held is not None}"


class WeightNorm(nn.Module):
    """Each row of a weight is the product of a length and a direction: g * v / |v|.

    The stored weight holds the directions, the gain the lengths. When a layer draws its weight, it sets the gain to the
    norms of the rows, so that the transformed weight starts equal to the weight that was drawn.

    Args:
        rows: R, the output units of the weight; in a packed weight every gate's unit is one.

    Attributes:
        gain: (R,).
    """

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(rows))

    def forward(self, weight: Tensor) -> Tensor:
        """weight (R, C) -> the weight to use, of the same shape.

        Raises:
            ValueError: when the weight has not two dimensions, or other rows.
        """
        if weight.ndim != 2 or len(weight) != len(self.gain):
            raise ValueError(f"WeightNorm({len(self.gain)}) needs a matrix of so many rows, got {tuple(weight.shape)}")
        # a gain by a small norm would overflow float16
        factors = widened(self.gain) / _row_norms(widened(weight))
        return (widened(weight) * factors[:, None]).to(weight.dtype)

    def extra_repr(self) -> str:
        """The rows, for print."""
        return f"rows={len(self.gain)}"


def _row_norms(weight: Tensor) -> Tensor:
    # the squares of two bytes would overflow, or vanish
    return widened(weight).square().sum(dim=1).clamp_min(1e-12).sqrt().to(weight.dtype)


def _transforms_of(layer: nn.Module) -> Mapping[str, nn.Module]:
    """Weight name -> transform; empty for a layer without transforms, or with others under that name."""
    transforms: Any = getattr(layer, "transforms", {})
    return dict(transforms.items()) if isinstance(transforms, Mapping | nn.ModuleDict) else {}


def match_gains(layer: nn.Module) -> None:
    """Set the gain of every weight norm of a layer to the row norms of the weight that it acts on, in place.

    Args:
        layer: with `transforms`, weight name -> transform.
    """
    with torch.no_grad():
        for name, transform in _transforms_of(layer).items():
            for part in transform.modules():
                # on the meta device there are no numbers, and torch imports its compiler to say so
                if isinstance(part, WeightNorm) and not part.gain.is_meta:
                    part.gain.copy_(_row_norms(getattr(layer, name)))


def fold_weight_norm(module: nn.Module) -> None:
    """Replace each weight by its value under weight norm, and each weight norm by the identity, in place.

    Outputs stay the same. A weight norm that is not among the `transforms` of a layer stays, as what it acts on is not
    known.

    Args:
        module: a model or a layer.
    """
    folded = set()
    for layer in list(module.modules()):
        for name, transform in _transforms_of(layer).items():
            for norm in [part for part in transform.modules() if isinstance(part, WeightNorm)]:
                weight = getattr(layer, name)
                with torch.no_grad():
                    weight.copy_(norm(weight))
                folded.add(norm)
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if child in folded:
                setattr(parent, name, nn.Identity())


def transform_axes(prefix: str, transform: nn.Module, rows: Axis) -> AxisTable:
    """The axes of a transform's parameters, each of which has one entry for each row of its weight.

    Args:
        prefix: of the parameters' names.
        transform: of the weight.
        rows: the weight's first axis.
    """
    return {f"{prefix}.{name}": (rows._replace(role="scales"),) for name, _ in transform.named_parameters()}
