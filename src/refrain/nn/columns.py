"""The columns of a batch that a process computes when several processes train one model.

Each process draws the random numbers of all columns and uses those of its own. So the processes together see the masks
that one process would see, and their generators stay in the same state. Numbers that do not differ by column, such as
the masks of weight dropout, are the same in every process.

T steps in the window, B columns of the whole batch, D width, F features of a word.
"""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor


class Columns(NamedTuple):
    """The columns `first` up to `first + number` of a batch with `total` columns."""

    first: int
    number: int
    total: int

    def of(self, tensor: Tensor, dim: int = 1) -> Tensor:
        """Return these columns of a tensor that has all of them along `dim`."""
        return tensor.narrow(dim, self.first, self.number)


class Part(NamedTuple):
    """What a process computes of the present window."""

    columns: Columns
    inputs: Tensor
    """The ids of all columns, (T, B), or (T, B, 1 + F) of a tagger."""


_part: Part | None = None


@contextlib.contextmanager
def computing(columns: Columns | None, inputs: Tensor) -> Iterator[None]:
    """Inside the context, layers receive the given columns of a window alone, and draw masks for all of them.

    Args:
        columns: the columns; None for all.
        inputs: the ids of all columns, (T, B), which decide where states are reset, or (T, B, 1 + F) of a tagger.
    """
    global _part
    before, _part = _part, None if columns is None else Part(columns, inputs)
    try:
        yield
    finally:
        _part = before


def present_part() -> Part | None:
    """Return what the process computes of the present window; None is all of it."""
    return _part
