"""Rescoring of n-best lists: the score of a recogniser and that of a language model, interpolated."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from refrain.data import Vocabulary
from refrain.data.text.words import split_words
from refrain.errors import UserError, shown
from refrain.models import Network, stepper_of
from refrain.models.scorer import AnyStepper

from .edit_distance import word_errors
from .prefix_tree import score_prefix_tree
from .score import LineScore

BATCH_HYPOTHESES = 2048
SCALES = (0.0, *(round(10 ** (step / 10), 4) for step in range(-20, 21)))
"""The scales that are tried: 0, and ten for each factor of ten from 0.01 to 100."""


class Hypothesis(NamedTuple):
    """What a recogniser may have heard.

    Attributes:
        text: its words.
        score: the logarithm of its probability by the recogniser, on any scale; larger is better.
    """

    text: str
    score: float


class NBest(NamedTuple):
    """The hypotheses of an utterance."""

    utterance: str
    hypotheses: list[Hypothesis]


class Rescored(NamedTuple):
    """The hypotheses of an utterance with their scores by the language model, in the same order."""

    utterance: str
    hypotheses: list[Hypothesis]
    lines: list[LineScore]

    def total(self, index: int, scale: float) -> float:
        """The interpolated score of a hypothesis: that of the recogniser plus `scale` times the log-likelihood."""
        return self.hypotheses[index].score - scale * self.lines[index].figure.nats

    def best(self, scale: float) -> int:
        """The index of the hypothesis with the largest interpolated score, the first of equal ones."""
        return max(range(len(self.hypotheses)), key=lambda index: self.total(index, scale))


class Tuned(NamedTuple):
    """A scale that was chosen on a development list.

    Attributes:
        scale: the scale with the fewest word errors, the smallest of equal ones.
        errors: its word errors.
        errors_at_zero: the word errors without the language model.
        least_errors: the word errors of the best hypothesis of each list.
        words: the number of words of the references.
    """

    scale: float
    errors: int
    errors_at_zero: int
    least_errors: int
    words: int


def rescore(model: Network | AnyStepper, vocabulary: Vocabulary, lists: Iterable[NBest]) -> Iterator[Rescored]:
    """Score the hypotheses of n-best lists by a language model, many lists in one tree of prefixes.

    Args:
        model: the model.
        vocabulary: the vocabulary of the model.
        lists: the lists.

    Yields:
        Each list with the scores of its hypotheses, in order.

    Raises:
        UserError: when an utterance has no hypotheses.
    """
    stepper = stepper_of(model)
    for batch in _batches(lists):
        texts = [hypothesis.text for nbest in batch for hypothesis in nbest.hypotheses]
        scores = iter(score_prefix_tree(stepper, vocabulary, texts).lines)
        for utterance, hypotheses in batch:
            yield Rescored(utterance, hypotheses, [next(scores) for _ in hypotheses])


def _batches(lists: Iterable[NBest]) -> Iterator[list[NBest]]:
    batch: list[NBest] = []
    size = 0
    for nbest in lists:
        if not nbest.hypotheses:
            raise UserError(f"the utterance {shown(nbest.utterance)} has no hypotheses; give at least one")
        if batch and size + len(nbest.hypotheses) > BATCH_HYPOTHESES:
            yield batch
            batch, size = [], 0
        batch.append(nbest)
        size += len(nbest.hypotheses)
    if batch:
        yield batch


def tune_scale(lists: Sequence[Rescored], references: Mapping[str, str], scales: Sequence[float] = SCALES) -> Tuned:
    """Choose the scale whose best hypotheses have the fewest word errors.

    Args:
        lists: the rescored lists.
        references: the words that were said in each utterance.
        scales: the scales to try; the first is 0.

    Raises:
        UserError: when an utterance has no reference, or no hypotheses.
    """
    if empty := [rescored.utterance for rescored in lists if not rescored.hypotheses]:
        raise UserError(f"the utterance {shown(empty[0])} has no hypotheses; give at least one")
    if missing := [rescored.utterance for rescored in lists if rescored.utterance not in references]:
        raise UserError(f"references: the utterance {shown(missing[0])} has none; give the words of each")
    totals = [0] * len(scales)
    words = least = 0
    for rescored in lists:
        reference = split_words(references[rescored.utterance])
        words += len(reference)
        errors = [word_errors(reference, split_words(hypothesis.text)) for hypothesis in rescored.hypotheses]
        least += min(errors)
        for index, scale in enumerate(scales):
            totals[index] += errors[rescored.best(scale)]
    chosen = min(range(len(scales)), key=lambda index: totals[index])
    return Tuned(scales[chosen], totals[chosen], totals[0], least, words)
