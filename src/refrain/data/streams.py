"""A corpus laid out as columns that are read side by side, a window at a time.

N tokens, B columns, T steps in a window.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from refrain.errors import DataError

from .token_file import TokenFile

RELEASE_EVERY = 1000


class Windows:
    """The windows of a pass over a corpus. Indexing gives inputs and targets, each (T, B), int64.

    The N tokens become B columns of N // B tokens; the remainder is left out. A column's first token is only ever an
    input, so N // B - 1 tokens a column are predicted.

    Args:
        source: the tokens.
        batch_size: B.
        window_steps: T.
        tail: `drop` leaves out a last window shorter than T, `keep` includes it.
        name: of the split, for the message.

    Raises:
        DataError: when there is not a single window.
    """

    def __init__(
        self,
        source: TokenFile,
        *,
        batch_size: int,
        window_steps: int,
        tail: Literal["drop", "keep"] = "drop",
        name: str = "the corpus",
    ) -> None:
        self.source = source
        self.batch_size = batch_size
        self.window_steps = window_steps
        self.column = len(source) // batch_size
        predicted = self.column - 1
        self._count = predicted // window_steps if tail == "drop" else -(-predicted // window_steps)
        if self._count < 1:
            needed = batch_size * ((window_steps if tail == "drop" else 1) + 1)
            raise DataError(
                f"{name}: {len(source)} token(s) are too few for batch_size={batch_size} and "
                f"window_steps={window_steps}, which need {needed}; lower one of them or give more text"
            )
        self.steps = min(predicted, self._count * window_steps)
        self._starts = np.arange(batch_size)[:, None] * self.column

    def __len__(self) -> int:
        return self._count

    @property
    def predicted(self) -> int:
        """How many tokens a pass predicts."""
        return self.steps * self.batch_size

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not 0 <= index < self._count:
            raise IndexError(index)
        if index % RELEASE_EVERY == RELEASE_EVERY - 1:
            self.source.release()
        first = index * self.window_steps
        last = min(first + self.window_steps, self.steps)
        ids = self.source.tokens[self._starts + np.arange(first, last + 1)]  # (B, T + 1)
        columns = torch.from_numpy(ids.astype(np.int64).T.copy())
        return columns[:-1], columns[1:]
