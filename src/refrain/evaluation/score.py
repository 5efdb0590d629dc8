"""Scoring lines of text independently of each other.

T tokens of the longest line in a batch, B batch size.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import torch

from refrain.data import Vocabulary
from refrain.models import Network, NetworkStepper, Stepper, stepper_of

from .perplexity import Figure

# the largest T * B of a window; a longer line is scored in several windows with the state carried, so that the memory
# for hidden states and scores does not grow with it
BATCH_TOKENS = 1 << 14
BATCH_LINES = 256


class LineScore(NamedTuple):
    """A line of text and its nats."""

    text: str
    figure: Figure
    unknown: int  # the number of words that are not in the vocabulary and are scored as <unk>


def score_lines(
    model: Network | Stepper | NetworkStepper,
    vocabulary: Vocabulary,
    lines: Iterable[str],
    *,
    batch_size: int | None = None,
) -> Iterator[LineScore]:
    """Score each line, including its end, as if another line had ended before it.

    Args:
        model: the model, used with the weights that it has when the first line is scored; its mode is not changed.
        vocabulary: the vocabulary of the model.
        lines: lines without their ends, which are read as needed.
        batch_size: the number of lines that are read before they are scored together, which is faster. The default is
            256 for a sequence. It is 1 for any other iterable, whose next line may be written only after a score.

    Yields:
        The score of each line, in order.

    Raises:
        ValueError: when `batch_size` is less than 1.
    """
    if batch_size is None:
        batch_size = BATCH_LINES if isinstance(lines, Sequence) else 1
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1 (got {batch_size})")
    stepper = stepper_of(model)
    remaining = iter(lines)
    while chunk := list(islice(remaining, batch_size)):
        encoded = [vocabulary.encode(line + "\n") for line in chunk]
        nats = _line_nats(stepper, vocabulary.line_end, encoded)
        for line, ids, figure in zip(chunk, encoded, nats, strict=True):
            yield LineScore(line, Figure(figure, len(ids)), vocabulary.count_unseen(line, ids))


def _line_nats(stepper: Stepper | NetworkStepper, line_end: int, encoded: Sequence[Sequence[int]]) -> list[float]:
    """The nats of each line after the end of another line. Lines of similar length share a batch."""
    nats = [0.0] * len(encoded)
    order = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))
    while order:
        longest = len(encoded[order[-1]])
        count = max(1, BATCH_TOKENS // longest)
        batch = order[-count:]
        order = order[:-count]
        targets = torch.full((longest, len(batch)), line_end)
        for row, index in enumerate(batch):
            targets[: len(encoded[index]), row] = torch.tensor(encoded[index])
        inputs = torch.cat([torch.full((1, len(batch)), line_end), targets[:-1]])
        state = stepper.initial_state(len(batch))
        for start in range(0, longest, BATCH_TOKENS):
            window = slice(start, start + BATCH_TOKENS)
            scores, state = stepper.token_nats(
                inputs[window].to(stepper.device), targets[window].to(stepper.device), state
            )
            for row, index in enumerate(batch):
                nats[index] += float(scores[: len(encoded[index]) - start, row].double().sum())
    return nats
