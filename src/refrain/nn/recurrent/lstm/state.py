"""The state of an LSTM and of the layers that end in its cell.

B batch, H hidden width.
"""

from typing import NamedTuple

from torch import Tensor


class LSTMState(NamedTuple):
    """What an LSTM carries from one step to the next."""

    hidden: Tensor  # (B, H)
    cell: Tensor  # (B, H)
