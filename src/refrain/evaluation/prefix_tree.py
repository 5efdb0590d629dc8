"""Scoring lines that share prefixes, such as the hypotheses of an n-best list: each prefix is evaluated once.

N prefixes of one length, V tokens in the vocabulary.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from refrain.data import Vocabulary
from refrain.models import Network, stepper_of
from refrain.models.scorer import AnyStepper, Scorer
from refrain.models.states import StateBatch

from .perplexity import Figure
from .score import LineScore

# the largest N * V of a step, which bounds the memory for log-probabilities
STEP_SCORES = 1 << 23


class TreeScores(NamedTuple):
    """The scores of lines.

    Attributes:
        lines: the score of each line, in order.
        evaluated: the number of tokens that the model has read, which is that of the different prefixes.
    """

    lines: list[LineScore]
    evaluated: int


def score_prefix_tree(model: Network | AnyStepper, vocabulary: Vocabulary, lines: Sequence[str]) -> TreeScores:
    """Score each line, including its end, as `score_lines` does, in a tree of their prefixes.

    All prefixes of one length are read in one batch: the states after them are those of the prefixes that are one token
    shorter, each chosen as often as it is continued.

    Args:
        model: the model, used with the weights that it has now.
        vocabulary: the vocabulary of the model.
        lines: lines without their ends.

    Raises:
        UserError: when a network of one's own has no `step`.
    """
    stepper = stepper_of(model)
    scorer, batch = stepper.scorer, StateBatch(stepper)
    encoded = [vocabulary.encode(line + "\n") for line in lines]
    nats = [0.0] * len(lines)
    # all lines begin with one prefix, the line end before them
    tokens, state = [vocabulary.line_end], scorer.initial_state(1)
    active = [(index, 0) for index in range(len(lines))]
    evaluated = depth = 0
    while active:
        evaluated += len(tokens)
        wanted = [(row, encoded[index][depth]) for index, row in active]
        costs, state = _read(scorer, batch, len(vocabulary), tokens, state, wanted)
        for (index, _), cost in zip(active, costs, strict=True):
            nats[index] += cost
        depth += 1
        rows: dict[tuple[int, int], int] = {}
        active = [
            (index, rows.setdefault(prefix, len(rows)))
            for (index, _), prefix in zip(active, wanted, strict=True)
            if len(encoded[index]) > depth
        ]
        tokens = [token for _, token in rows]
        if active:
            state = batch.select(state, torch.tensor([row for row, _ in rows]))
    scores = [
        LineScore(line, Figure(cost, len(ids)), vocabulary.count_unseen(line, ids))
        for line, cost, ids in zip(lines, nats, encoded, strict=True)
    ]
    return TreeScores(scores, evaluated)


def _read(
    scorer: Scorer,
    batch: StateBatch,
    size: int,
    tokens: Sequence[int],
    state: Any,
    wanted: Sequence[tuple[int, int]],
) -> tuple[list[float], Any]:
    """Read a token after each of N states.

    Args:
        scorer: the model.
        batch: what a batch of its states is.
        size: V.
        tokens: N ids.
        state: N states.
        wanted: pairs of a row and an id that may follow there.

    Returns:
        The nats of each pair, and the N states after the tokens.
    """
    rows, ids = torch.tensor(wanted).unbind(1)
    costs = torch.empty(len(wanted), dtype=torch.float64)
    most = max(1, STEP_SCORES // size)
    after = []
    for start in range(0, len(tokens), most):
        stop = min(start + most, len(tokens))
        part = state if stop - start == len(tokens) else batch.select(state, torch.arange(start, stop))
        read = torch.tensor(tokens[start:stop], device=scorer.device)
        inside = (rows >= start) & (rows < stop)
        pairs = ((rows[inside] - start).to(scorer.device), ids[inside].to(scorer.device))
        nats, part = scorer.following_nats(read, part, *pairs)
        after.append(part)
        costs[inside] = nats.double().cpu()
    return costs.tolist(), after[0] if len(after) == 1 else batch.join(after)
