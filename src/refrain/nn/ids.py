"""The checks of ids, which must be indices of the matrix whose rows they choose, and of lengths of sequences."""

from collections.abc import Sequence

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


def checked_lengths(inputs: Tensor, lengths: Tensor | Sequence[int]) -> Tensor:
    """Check the lengths of sequences. On a device other than a CPU, the program would have to wait for their values.

    Args:
        inputs: (T, B, ...).
        lengths: whole numbers (B,), each in 1 to T.

    Returns:
        The lengths as int64, on the device of the inputs.

    Raises:
        ValueError: when a length is out of range, is no whole number, or there is not one for each sequence.
    """
    if not isinstance(lengths, Tensor):
        given = list(lengths)
        lengths = torch.tensor(given, dtype=None if given else torch.int64)
    if lengths.shape != inputs.shape[1:2] or lengths.is_floating_point() or lengths.dtype == torch.bool:
        raise ValueError(
            f"lengths must be whole numbers of shape {tuple(inputs.shape[1:2])}, one for each sequence (got "
            f"{str(lengths.dtype).removeprefix('torch.')} of shape {tuple(lengths.shape)})"
        )
    if lengths.device.type == "cpu" and lengths.numel() and not torch.compiler.is_compiling():
        lowest, highest = lengths.long().aminmax()
        if lowest < 1 or highest > len(inputs):
            raise ValueError(f"lengths must be in 1 to {len(inputs)} steps (got {lowest.item()} to {highest.item()})")
    return lengths.to(inputs.device, torch.int64)
