"""Scoring lines of text, each on its own.

T tokens of the longest line in a batch, B lines.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import torch

from refrain.data import Vocabulary
from refrain.models import Network, NetworkStepper, Stepper, stepper_of

from .perplexity import Figure

BATCH_TOKENS = 1 << 14


class LineScore(NamedTuple):
    """What a line costs."""

    text: str
    figure: Figure
    unknown: int  # words that are not in the vocabulary; they are scored as <unk>


def score_lines(
    model: Network | Stepper | NetworkStepper, vocabulary: Vocabulary, lines: Iterable[str]
) -> Iterator[LineScore]:
    """Score each line as a model meets it after the end of another line: its tokens and its own end.

    Args:
        model: read with the weights that it has when the first line is read; its mode stays.
        vocabulary: of the model.
        lines: without their line ends; read lazily, a few hundred at a time.

    Yields:
        A score for each line, in order.
    """
    stepper = stepper_of(model)
    remaining = iter(lines)
    while chunk := list(islice(remaining, 256)):
        encoded = [vocabulary.encode(line + "\n") for line in chunk]
        nats = _line_nats(stepper, vocabulary.line_end, encoded)
        for line, ids, figure in zip(chunk, encoded, nats, strict=True):
            yield LineScore(line, Figure(figure, len(ids)), vocabulary.count_unseen(line, ids))


def _line_nats(stepper: Stepper | NetworkStepper, line_end: int, encoded: Sequence[Sequence[int]]) -> list[float]:
    """The nats of each line given a line end before it. Lines of like length share a batch."""
    nats = [0.0] * len(encoded)
    order = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))
    while order:
        longest = len(encoded[order[-1]])
        count = max(1, BATCH_TOKENS // longest)
        batch, order = order[-count:], order[:-count]
        targets = torch.full((longest, len(batch)), line_end)
        for column, index in enumerate(batch):
            targets[: len(encoded[index]), column] = torch.tensor(encoded[index])
        inputs = torch.cat([torch.full((1, len(batch)), line_end), targets[:-1]])
        state = stepper.initial_state(len(batch))
        scores, _ = stepper.token_nats(inputs.to(stepper.device), targets.to(stepper.device), state)
        for column, index in enumerate(batch):
            nats[index] = float(scores[: len(encoded[index]), column].double().sum())
    return nats
