"""Minimal pairs: whether a model finds the grammatical one of two sentences more probable.

Warstadt et al. (2020), BLiMP: The Benchmark of Linguistic Minimal Pairs for English.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from refrain.data import Vocabulary
from refrain.models import Network, stepper_of
from refrain.models.scorer import AnyStepper

from .score import LineScore, score_lines
from .share import Share

CHUNK_PAIRS = 1024


class MinimalPair(NamedTuple):
    """Two sentences that differ as little as possible.

    Attributes:
        good: the grammatical sentence.
        bad: the ungrammatical sentence.
        phenomenon: what the pair tests.
        paradigm: the set of pairs within the phenomenon, such as the UID of BLiMP; empty where there is none.
    """

    good: str
    bad: str
    phenomenon: str
    paradigm: str = ""


class PairScore(NamedTuple):
    """The scores of a pair. It is right if the good sentence costs fewer nats, its line end included."""

    pair: MinimalPair
    good: LineScore
    bad: LineScore

    @property
    def is_right(self) -> bool:
        """Whether the good sentence is more probable; equal ones are not right."""
        return self.good.figure.nats < self.bad.figure.nats

    @property
    def unknown(self) -> int:
        """The number of unknown words in both sentences."""
        return self.good.unknown + self.bad.unknown


class Tally:
    """Right pairs by phenomenon or paradigm."""

    def __init__(self) -> None:
        self.right: dict[str, int] = {}
        self.total: dict[str, int] = {}
        self.unknown: dict[str, int] = {}

    def add(self, name: str, score: PairScore) -> None:
        """Count a pair."""
        self.right[name] = self.right.get(name, 0) + score.is_right
        self.total[name] = self.total.get(name, 0) + 1
        self.unknown[name] = self.unknown.get(name, 0) + (score.unknown > 0)

    def shares(self) -> dict[str, Share]:
        """The share of right pairs of each name, in the order in which the names came."""
        return {name: Share(self.right[name], total) for name, total in self.total.items()}


def score_pairs(
    model: Network | AnyStepper, vocabulary: Vocabulary, pairs: Iterable[MinimalPair]
) -> Iterator[PairScore]:
    """Score both sentences of each pair independently, each after a line end and with its own line end.

    Args:
        model: the model.
        vocabulary: the vocabulary of the model.
        pairs: the pairs.

    Yields:
        The scores of each pair, in order.
    """
    stepper = stepper_of(model)
    remaining = iter(pairs)
    while chunk := list(islice(remaining, CHUNK_PAIRS)):
        lines: Sequence[str] = [text for pair in chunk for text in (pair.good, pair.bad)]
        scores = score_lines(stepper, vocabulary, lines)
        for pair in chunk:
            yield PairScore(pair, next(scores), next(scores))
