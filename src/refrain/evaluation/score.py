"""Scoring lines of text independently of each other.

T tokens of the longest line in a batch, B batch size.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple

import torch
from torch import Tensor

from refrain.data import Vocabulary
from refrain.models import Network, stepper_of
from refrain.models.scorer import AnyStepper, Scorer

from .perplexity import Figure

# the largest T * B of a window; a longer line is scored in several windows with the state carried, so that the memory
# for hidden states and scores does not grow with it
BATCH_TOKENS = 1 << 14
# lines that are scored together, which hardly become faster beyond, and lines that are sorted by length for it
BATCH_LINES = 192
CHUNK_LINES = 4096


class LineScore(NamedTuple):
    """A line of text and its nats."""

    text: str
    figure: Figure
    unknown: int  # the number of words that are not in the vocabulary and are scored as <unk>


def score_lines(
    model: Network | AnyStepper,
    vocabulary: Vocabulary,
    lines: Iterable[str],
    *,
    batch_size: int | None = None,
) -> Iterator[LineScore]:
    """Score each line, including its end, as if another line had ended before it.

    Lines of similar length are scored together. With int8 weights the nats differ a little from those of single steps;
    see `refrain.models.integer_scorer`.

    Args:
        model: the model, used with the weights that it has when the first line is scored; its mode is not changed.
        vocabulary: the vocabulary of the model.
        lines: lines without their ends, which are read as needed.
        batch_size: the number of lines that are read before any of them is scored, which is faster. The default is
            4096 for a sequence. It is 1 for any other iterable, whose next line may be written only after a score.

    Yields:
        The score of each line, in order.

    Raises:
        ValueError: when `batch_size` is less than 1.
    """
    if batch_size is None:
        batch_size = CHUNK_LINES if isinstance(lines, Sequence) else 1
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1 (got {batch_size})")
    scorer = stepper_of(model).scorer
    remaining = iter(lines)
    while chunk := list(islice(remaining, batch_size)):
        encoded = [vocabulary.encode(line + "\n") for line in chunk]
        nats = nats_of_lines(scorer, vocabulary.line_end, encoded)
        for line, ids, figure in zip(chunk, encoded, nats, strict=True):
            yield LineScore(line, Figure(figure, len(ids)), vocabulary.count_unseen(line, ids))


def nats_of_lines(scorer: Scorer, line_end: int, encoded: Sequence[Sequence[int]]) -> list[float]:
    """The nats of each line after the end of another line. Lines of similar length share a batch.

    Args:
        scorer: the model.
        line_end: the id that is read before each line.
        encoded: the ids of each line, its end included.
    """
    nats = [0.0] * len(encoded)
    order = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))
    while order:
        longest = len(encoded[order[-1]])
        count = max(1, min(BATCH_LINES, BATCH_TOKENS // longest))
        batch = order[-count:]
        order = order[:-count]
        sums = _batch_nats(scorer, line_end, [encoded[index] for index in batch], longest)
        for index, total in zip(batch, sums.tolist(), strict=True):
            nats[index] = total
    return nats


def _batch_nats(scorer: Scorer, line_end: int, lines: Sequence[Sequence[int]], longest: int) -> Tensor:
    """The nats (B,) of lines, which are padded to the longest."""
    lengths = torch.tensor([len(line) for line in lines])
    present = torch.arange(longest) < lengths[:, None]
    padded = torch.full((len(lines), longest), line_end)
    padded[present] = torch.tensor(list(chain.from_iterable(lines)))
    targets = padded.T
    inputs = torch.cat([torch.full((1, len(lines)), line_end), targets[:-1]])
    state = scorer.initial_state(len(lines))
    sums = torch.zeros(len(lines), dtype=torch.float64)
    for start in range(0, longest, BATCH_TOKENS):
        window = slice(start, start + BATCH_TOKENS)
        scores, state = scorer.token_nats(inputs[window].to(scorer.device), targets[window].to(scorer.device), state)
        sums += scores.double().cpu().where(present.T[window], 0.0).sum(0)
    return sums
