"""Lines of text in a tree of their prefixes, each of which is read once.

N lines, A lines that continue, P prefixes of one length, M ids to score, V tokens in the vocabulary.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from refrain.data import Vocabulary
from refrain.models.scorer import AnyStepper, Scorer
from refrain.models.states import StateBatch

# the largest P * V of a step, which bounds the memory for log-probabilities
STEP_SCORES = 1 << 23


class Lines:
    """The ids of lines, one line after another.

    Args:
        encoded: the ids of each line.

    Attributes:
        ids: the ids of all lines.
        starts: (N,), where each line starts in `ids`.
        lengths: (N,), the number of ids of each line.
    """

    def __init__(self, encoded: Sequence[Sequence[int]]) -> None:
        self.ids = torch.tensor(list(chain.from_iterable(encoded)), dtype=torch.int64)
        self.lengths = torch.tensor([len(ids) for ids in encoded], dtype=torch.int64)
        self.starts = self.lengths.cumsum(0) - self.lengths

    def at(self, lines: Tensor, position: int) -> Tensor:
        """The id of each of some lines (A,) at a position, which all of them have."""
        return self.ids[self.starts[lines] + position]


@dataclass
class Prefixes:
    """Prefixes of one length, which are read up to their last token, and what the lines have cost so far.

    Attributes:
        nats: (N,), float64, of the tokens of each line that are scored.
        depth: the number of tokens of each line that are scored, at most.
        evaluated: the number of tokens that the model has read.
        lines: (A,), the lines that have more tokens.
        rows: (A,), the prefix of each of these.
        tokens: (P,), the last token of each prefix, which is not read yet.
        state: the state of each prefix before its last token.
    """

    nats: Tensor
    depth: int
    evaluated: int
    lines: Tensor
    rows: Tensor
    tokens: Tensor
    state: Any

    @property
    def saved(self) -> int:
        """The number of tokens that need not be read, because another line has read them."""
        return len(self.lines) - len(self.tokens)


class PrefixTree:
    """Reads the prefixes of lines, all of one length in one batch.

    The states after them are those of the prefixes that are one token shorter, each chosen as often as it is continued.

    Args:
        stepper: the model.
        vocabulary: the vocabulary of the model.
    """

    def __init__(self, stepper: AnyStepper, vocabulary: Vocabulary) -> None:
        self.scorer: Scorer = stepper.scorer
        self._stepper = stepper
        self._size, self._line_end = len(vocabulary), vocabulary.line_end

    @functools.cached_property
    def _batch(self) -> StateBatch:
        return StateBatch(self._stepper)

    def first(self, count: int) -> Prefixes:
        """The only prefix with which all of `count` lines begin: the line end before them."""
        return Prefixes(
            nats=torch.zeros(count, dtype=torch.float64),
            depth=0,
            evaluated=0,
            lines=torch.arange(count),
            rows=torch.zeros(count, dtype=torch.int64),
            tokens=torch.tensor([self._line_end]),
            state=self.scorer.initial_state(1),
        )

    def extend(self, prefixes: Prefixes, lines: Lines) -> Prefixes:
        """Score the next token of each line that continues, and lengthen the prefixes by it.

        Raises:
            UserError: when a network of one's own has no `step`, or a state that cannot be chosen by sequence.
        """
        following = lines.at(prefixes.lines, prefixes.depth)
        costs, state = self._read(prefixes, following)
        nats, depth = prefixes.nats.index_add(0, prefixes.lines, costs), prefixes.depth + 1
        more = lines.lengths[prefixes.lines] > depth
        # prefixes that have the prefix before and the token in common are one
        keys, rows = torch.unique(prefixes.rows[more] * self._size + following[more], return_inverse=True)
        return Prefixes(
            nats=nats,
            depth=depth,
            evaluated=prefixes.evaluated + len(prefixes.tokens),
            lines=prefixes.lines[more],
            rows=rows,
            tokens=keys % self._size,
            state=self._batch.select(state, keys // self._size) if len(keys) else state,
        )

    def states(self, prefixes: Prefixes, rows: Tensor) -> Any:
        """The state of some prefixes before their last token, each as often as its row occurs."""
        if not prefixes.depth:
            return self.scorer.initial_state(len(rows))
        return self._batch.select(prefixes.state, rows)

    def _read(self, prefixes: Prefixes, following: Tensor) -> tuple[Tensor, Any]:
        """Read the last token of each prefix.

        Args:
            prefixes: the prefixes.
            following: (A,), the id that follows in each line that continues.

        Returns:
            The nats (A,) of these ids, and the states of the P prefixes after their last tokens.
        """
        tokens, device = prefixes.tokens, self.scorer.device
        costs = torch.empty(len(following), dtype=torch.float64)
        most = max(1, STEP_SCORES // self._size)
        after = []
        for start in range(0, len(tokens), most):
            part = torch.arange(start, min(start + most, len(tokens)))
            state = prefixes.state if len(part) == len(tokens) else self.states(prefixes, part)
            inside = (prefixes.rows >= start) & (prefixes.rows < start + most)
            pairs = (prefixes.rows[inside] - start).to(device), following[inside].to(device)
            nats, state = self.scorer.following_nats(tokens[part].to(device), state, *pairs)
            after.append(state)
            costs[inside] = nats.double().cpu()
        return costs, after[0] if len(after) == 1 else self._batch.join(after)
