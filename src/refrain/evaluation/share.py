"""A share of right answers, and how far chance may have moved it."""

import math
from typing import NamedTuple

# of the standard normal distribution, for 95 %
Z = 1.959963984540054


class Share(NamedTuple):
    """How many answers are right, and how many there are."""

    right: int
    total: int

    @property
    def accuracy(self) -> float | None:
        """Right over all; None where there are no answers."""
        return self.right / self.total if self.total else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the accuracy (Wilson, 1927), which counts the answers as independent draws; None
        where there are no answers."""
        if not self.total:
            return None
        share, weight = self.right / self.total, Z * Z / self.total
        centre = (share + weight / 2) / (1 + weight)
        half = math.sqrt(share * (1 - share) * weight + weight**2 / 4) / (1 + weight)
        # the share itself lies inside, also after rounding
        return max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))
