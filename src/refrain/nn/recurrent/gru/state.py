"""The state of a GRU.

B batch, H hidden width.
"""

from typing import NamedTuple

from torch import Tensor


class GRUState(NamedTuple):
    """What a GRU carries from one step to the next."""

    hidden: Tensor  # (B, H)
