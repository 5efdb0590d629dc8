"""What changes a weight before it is used: the stored weight stays, and its name in a checkpoint too.

Weight drop: Wan et al. (2013), DropConnect; on the recurrent weight of an LSTM: Merity et al. (2018), section 2.
"""

from typing import Literal

from torch import Tensor, nn

from .dropout import HeldMask, checked_rate, dropout_mask


class WeightDropout(nn.Module):
    """DropConnect: entries of a weight are zero for a window, the others scaled by 1 / (1 - rate).

    Gradients reach the stored weight through the kept entries only. Nothing is dropped in evaluation.

    Args:
        rate: in [0, 1).
        granularity: `entry` drops single entries, `row` whole rows (a gate's input to one unit).
        held: keep the mask until `resample()`, instead of a fresh one each time.

    Raises:
        ValueError: when the rate is out of range.
    """

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
        """weight (R, C) -> the weight to use, of the same shape."""
        if not self.training or not self.rate:
            return weight
        shape = weight.shape if self.granularity == "entry" else (weight.shape[0], 1)
        if self.held is not None:
            masked: Tensor = self.held(weight, shape)
            return masked
        return weight * dropout_mask(shape, self.rate, weight)

    def extra_repr(self) -> str:
        """The settings, for print."""
        return f"rate={self.rate}, granularity={self.granularity!r}, held={self.held is not None}"
