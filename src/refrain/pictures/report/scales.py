"""The axes of a chart: their limits, their ticks, and the labels of these."""

import math
from collections.abc import Sequence
from typing import NamedTuple

# the number of ticks that an axis has at most
MOST_TICKS = 6
# a range of values in which the largest is this many times the smallest is drawn on a logarithmic scale, if it may be
LOGARITHMIC_FROM = 3.0


class Scale(NamedTuple):
    """An axis.

    Attributes:
        low: the value at its beginning.
        high: the value at its end.
        logarithmic: whether equal distances are equal ratios.
        ticks: the values that are labelled.
    """

    low: float
    high: float
    logarithmic: bool
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        """The place of a value, from 0 at the beginning to 1 at the end."""
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


SMALLEST = 1e-100
"""A number that is smaller is shown as zero."""


def scale_of(values: Sequence[float], *, logarithmic: bool = False, from_zero: bool = False) -> Scale:
    """The axis for some values.

    Args:
        values: numbers of at most 1e100, at least one.
        logarithmic: whether the scale may be logarithmic; it is if the values are positive and far apart.
        from_zero: whether a linear scale begins at zero.
    """
    low, high = (0.0 if abs(value) < SMALLEST else value for value in (min(values), max(values)))
    if logarithmic and low > 0 and high > LOGARITHMIC_FROM * low:
        return _logarithmic(low, high)
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high == low:
        # one value, which is drawn in the middle, or on the axis where that is at zero
        space = abs(high) / 10 or 1.0
        low, high = (low, high + space) if from_zero else (low - space, high + space)
    elif not from_zero:
        space = 0.04 * (high - low)
        low, high = low - space, high + space
    step = _step((high - low) / (MOST_TICKS - 1))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return Scale(low, high, False, tuple(index * step for index in range(first, last + 1)))


def _step(smallest: float) -> float:
    """The smallest round number that is not smaller."""
    unit: float = 10.0 ** math.floor(math.log10(smallest))
    return next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= smallest * (1 - 1e-9))


def _logarithmic(low: float, high: float) -> Scale:
    space = (high / low) ** 0.04
    low, high = low / space, high * space
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for factors in ((1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        ticks = [factor * 10.0**decade for decade in decades for factor in factors]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= MOST_TICKS:
            break
    if len(ticks) > MOST_TICKS:
        ticks = ticks[:: math.ceil(len(ticks) / MOST_TICKS)]
    return Scale(low, high, True, tuple(ticks))


def label(value: float) -> str:
    """The label of a tick: short, without noise of rounding."""
    size = abs(value)
    if size and not 1e-3 <= size < 1e6:
        mantissa, _, exponent = f"{value:.3g}".partition("e")
        return f"{mantissa}e{int(exponent)}" if exponent else mantissa
    return f"{value:,.6g}" if size < 1000 else f"{value:,.0f}"


def exact(value: float | int | str | None) -> str:
    """A number in a table: six digits, which a program can read; empty for None."""
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
