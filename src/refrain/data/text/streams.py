"""Windows over a corpus, for truncated backpropagation through time.

N tokens, B batch size, T steps in a window.
"""

from collections.abc import Iterator
from copy import copy
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from refrain.arguments import at_least_one, check_choice
from refrain.errors import DataError, quantity

from .token_file import TokenSource

RELEASE_EVERY = 1000
RELEASE_TOKENS = 1 << 24


class Windows:
    """The windows of a pass over a corpus. Indexing returns inputs and targets, each (T, B), int64.

    The N tokens are cut into B consecutive parts of N // B tokens, and the remainder is dropped. Element b of every
    batch is taken from part b, so that the state of a window continues in the next. The first token of a part is an
    input and never a target: N // B - 1 tokens of each part are predicted.

    Args:
        source: the tokens.
        batch_size: B, at least 1.
        window_steps: T, at least 1.
        tail: `drop` leaves out a last window shorter than T, `keep` includes it.
        lengths: lengths of the windows instead of T, for example from `random_lengths`; not all need be used.
        name: the name of the split, for the error message.
        batch_name: what B is called there.

    Raises:
        UserError: when B or T is less than 1, or `tail` is another word.
        DataError: when the tokens do not fill a single window.
    """

    def __init__(
        self,
        source: TokenSource,
        *,
        batch_size: int,
        window_steps: int,
        tail: Literal["drop", "keep"] = "drop",
        lengths: Iterator[int] | None = None,
        name: str = "the corpus",
        batch_name: str = "batch_size",
    ) -> None:
        batch_size, window_steps = at_least_one(batch_size, batch_name), at_least_one(window_steps, "window_steps")
        check_choice("tail", tail, ("drop", "keep"))
        self.source = source
        self.batch_size = batch_size
        self.window_steps = window_steps
        self.part_tokens = len(source) // batch_size
        self._first_token = 0
        predicted = self.part_tokens - 1
        self._count = predicted // window_steps if tail == "drop" else -(-predicted // window_steps)
        if self._count < 1:
            remedy = _too_few(batch_size, window_steps if tail == "drop" else None, batch_name)
            raise DataError(f"{name}: has {quantity(len(source), 'token')}, too few{remedy}")
        self.steps = min(predicted, self._count * window_steps)
        self._release_every = min(RELEASE_EVERY, max(1, RELEASE_TOKENS // (batch_size * window_steps)))
        self._edges: list[int] | None = None
        if lengths is not None:
            self._edges = [0]
            while self._edges[-1] < self.steps:
                self._edges.append(min(self._edges[-1] + next(lengths), self.steps))
            self._count = len(self._edges) - 1

    def columns(self, first: int, count: int) -> "Windows":
        """Return the same windows with some of the B parts alone.

        Args:
            first: the first part.
            count: the number of parts.
        """
        some = copy(self)
        some.batch_size = count
        some._first_token = self._first_token + first * self.part_tokens
        return some

    def __len__(self) -> int:
        return self._count

    @property
    def predicted(self) -> int:
        """The number of tokens that a pass predicts."""
        return self.steps * self.batch_size

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not 0 <= index < self._count:
            raise IndexError(index)
        if index % self._release_every == self._release_every - 1:
            self.source.release()
        first, last = self._bounds(index)
        first, last = first + self._first_token, last + self._first_token
        starts = range(first, first + self.batch_size * self.part_tokens, self.part_tokens)
        parts = [self.source.read(start, start + last - first + 1) for start in starts]
        # two copies: one joins the parts, one converts them to int64 with time as the first axis
        joined = np.concatenate(parts).reshape(self.batch_size, -1)  # (B, T + 1)
        ids = torch.from_numpy(joined.T.astype(np.int64, order="C"))
        return ids[:-1], ids[1:]

    def share(self, index: int) -> float:
        """The length of a window divided by T, which scales its learning rate; 1 where all windows have T steps."""
        first, last = self._bounds(index)
        return (last - first) / self.window_steps if self._edges is not None else 1.0

    def _bounds(self, index: int) -> tuple[int, int]:
        if self._edges is not None:
            return self._edges[index], self._edges[index + 1]
        first = index * self.window_steps
        return first, min(first + self.window_steps, self.steps)


def _too_few(batch_size: int, window_steps: int | None, batch_name: str) -> str:
    """What the tokens are too few for, and the remedy; without `window_steps`, a window of any length is enough."""
    needed = batch_size * ((window_steps or 1) + 1)
    if window_steps is not None:
        return (
            f" for {batch_name}={batch_size} and window_steps={window_steps}, which need {needed}; lower one of them "
            "or give more text"
        )
    if batch_size == 1:
        return f"; give a text of at least {needed} tokens"
    return f" for {batch_name}={batch_size}, which needs {needed}; lower it or give more text"


def random_lengths(window_steps: int, cap: int, generator: torch.Generator) -> Iterator[int]:
    """Draw window lengths, without an end (Merity et al., 2018, section 4.1).

    Lengths are normally distributed with standard deviation 5, around `window_steps` or, with probability 0.05, around
    half of it, and are clipped to between 5 and `cap`.

    Args:
        window_steps: the usual mean.
        cap: the largest length.
        generator: a generator on the CPU, which is advanced.
    """
    while True:
        long = torch.rand((), generator=generator)
        noise = torch.randn((), generator=generator)
        base = window_steps if long < 0.95 else window_steps / 2
        yield min(cap, max(5, int(base + 5 * float(noise))))
