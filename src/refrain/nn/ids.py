"""The check of ids: token ids, targets and tags must be indices of the matrix whose rows they choose."""

import torch
from torch import Tensor


def check_ids(name: str, ids: Tensor, size: int) -> None:
    """Check that ids on a CPU are in [0, size); on another device the program would have to wait for it.

    Args:
        name: what the ids are, for the message.
        ids: integers of any shape.
        size: the number of rows that can be chosen.

    Raises:
        IndexError: when an id is negative or too large.
    """
    if ids.device.type != "cpu" or not ids.numel() or torch.compiler.is_compiling():
        return
    lowest, highest = ids.aminmax()
    if lowest < 0 or highest >= size:
        raise IndexError(f"{name} must be in [0, {size}), got {lowest.item()} to {highest.item()}")
