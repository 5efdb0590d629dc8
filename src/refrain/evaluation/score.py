"""Scoring lines of text independently of each other.

T tokens of the longest line in a batch, B batch size.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from refrain.arguments import at_least_one, text_of
from refrain.data import Vocabulary
from refrain.models import Network, stepper_of
from refrain.models.scorer import AnyStepper
from refrain.nn.recurrent.protocol import state_tensors

from .perplexity import Figure
from .prefixes import Lines, Prefixes, PrefixTree

# the largest T * B of a window; a longer line is scored in several windows with the state carried, so that the memory
# for hidden states and scores does not grow with it
BATCH_TOKENS = 1 << 14
# lines that are scored together, which hardly become faster beyond, and lines that are sorted for it: the more there
# are, the more begin alike
BATCH_LINES = 192
CHUNK_LINES = 1 << 16
# the largest number of values in the states of lines whose prefixes are shared, which bounds the memory for them
STATE_VALUES = 1 << 24
# another token of prefixes is shared if that saves more than this number of tokens and this part of them: a step takes
# as long as some tokens, and choosing states as long as a part of a token
LEAST_SAVED = 32
LEAST_SHARE = 0.1


class LineScore(NamedTuple):
    """A line of text and its nats."""

    text: str
    figure: Figure
    unknown: int  # the number of words that are not in the vocabulary and are scored as <unk>


def score_lines(
    model: Network | AnyStepper,
    vocabulary: Vocabulary,
    lines: str | Iterable[str],
    *,
    batch_size: int | None = None,
) -> Iterator[LineScore]:
    """Score each line, including its end, as if another line had ended before it.

    Beginnings that many lines share and lines that occur again are read once, and lines of similar length are scored
    together. With int8 weights the nats differ a little from those of single steps; see
    `refrain.models.integer_scorer`.

    Args:
        model: the model, used with the weights that it has when the first line is scored; its mode is not changed.
        vocabulary: the vocabulary of the model.
        lines: lines without their ends, which are read as needed; a text is one line.
        batch_size: the number of lines that are read before any of them is scored, which is faster. The default is
            65536 for a sequence. It is 1 for any other iterable, whose next line may be written only after a score.

    Yields:
        The score of each line, in order.

    Raises:
        UserError: when `batch_size` is less than 1, or a line is no text.
    """
    if batch_size is None:
        batch_size = CHUNK_LINES if isinstance(lines, Sequence) else 1
    batch_size = at_least_one(batch_size, "batch_size")
    stepper = stepper_of(model)
    remaining = iter([lines] if isinstance(lines, str) else lines)
    while chunk := list(islice(remaining, batch_size)):
        encoded = [vocabulary.encode(text_of(line, "each line") + "\n") for line in chunk]
        nats = nats_of_lines(stepper, vocabulary, encoded)
        for line, ids, figure in zip(chunk, encoded, nats, strict=True):
            yield LineScore(line, Figure(figure, len(ids)), vocabulary.count_unseen(line, ids))


def nats_of_lines(stepper: AnyStepper, vocabulary: Vocabulary, encoded: Sequence[list[int]]) -> list[float]:
    """The nats of each line after the end of another line.

    Args:
        stepper: the model.
        vocabulary: its vocabulary.
        encoded: the ids of each line, its end included.
    """
    tree = PrefixTree(stepper, vocabulary)
    # lines that begin alike are neighbours, and so are equal lines, of which one is scored
    order = sorted(range(len(encoded)), key=lambda index: encoded[index])
    distinct = [encoded[index] for index in order[:1]]
    numbers = []
    for index in order:
        if encoded[index] != distinct[-1]:
            distinct.append(encoded[index])
        numbers.append(len(distinct) - 1)
    size = sum(part.numel() for part in state_tensors(stepper.initial_state(1)))
    count = max(BATCH_LINES, STATE_VALUES // max(size, 1))
    sums: list[float] = []
    for start in range(0, len(distinct), count):
        lines = Lines(distinct[start : start + count])
        sums += _tree_nats(tree, stepper.shares_prefixes, lines).tolist()
    nats = [0.0] * len(encoded)
    for index, number in zip(order, numbers, strict=True):
        nats[index] = sums[number]
    return nats


def _tree_nats(tree: PrefixTree, shares: bool, lines: Lines) -> Tensor:
    """The nats (N,) of lines. Prefixes are shared while that saves much; what follows them is read in windows."""
    prefixes = tree.first(len(lines.lengths))
    while shares and prefixes.saved > max(LEAST_SAVED, LEAST_SHARE * len(prefixes.lines)):
        prefixes = tree.extend(prefixes, lines)
    nats = prefixes.nats
    lengths = lines.lengths[prefixes.lines] - prefixes.depth
    order = lengths.argsort(stable=True)
    while len(order):
        longest = int(lengths[order[-1]])
        count = max(1, min(BATCH_LINES, BATCH_TOKENS // longest))
        batch, order = order[-count:], order[:-count]
        nats[prefixes.lines[batch]] += _batch_nats(tree, prefixes, batch, lines, longest)
    return nats


def _batch_nats(tree: PrefixTree, prefixes: Prefixes, batch: Tensor, lines: Lines, longest: int) -> Tensor:
    """The nats (B,) of what follows the prefixes of some of the lines that continue, padded to the longest."""
    scorer, which, rows = tree.scorer, prefixes.lines[batch], prefixes.rows[batch]
    # the positions (T, B) of their tokens, and where there are any
    positions = lines.starts[which] + prefixes.depth + torch.arange(longest)[:, None]
    present = positions < lines.starts[which] + lines.lengths[which]
    targets = lines.ids[positions.where(present, 0)]
    inputs = torch.cat([prefixes.tokens[rows][None], targets[:-1]])
    state = tree.states(prefixes, rows)
    sums = torch.zeros(len(batch), dtype=torch.float64)
    for start in range(0, longest, BATCH_TOKENS):
        window = slice(start, start + BATCH_TOKENS)
        scores, state = scorer.token_nats(inputs[window].to(scorer.device), targets[window].to(scorer.device), state)
        sums += scores.double().cpu().where(present[window], 0.0).sum(0)
    return sums
