"""Scoring lines that share prefixes, such as the hypotheses of an n-best list: each prefix is evaluated once."""

from collections.abc import Sequence
from typing import NamedTuple

from refrain.arguments import texts_of
from refrain.data import Vocabulary
from refrain.models import Network, stepper_of
from refrain.models.scorer import AnyStepper

from .perplexity import Figure
from .prefixes import Lines, PrefixTree
from .score import LineScore


class TreeScores(NamedTuple):
    """The scores of lines.

    Attributes:
        lines: the score of each line, in order.
        evaluated: the number of tokens that the model has read, which is that of the different prefixes.
    """

    lines: list[LineScore]
    evaluated: int


def score_prefix_tree(model: Network | AnyStepper, vocabulary: Vocabulary, lines: str | Sequence[str]) -> TreeScores:
    """Score each line, including its end, as `score_lines` does, in a tree of their prefixes.

    All prefixes of one length are read in one batch: the states after them are those of the prefixes that are one token
    shorter, each chosen as often as it is continued.

    Args:
        model: the model, used with the weights that it has now.
        vocabulary: the vocabulary of the model.
        lines: lines without their ends; a text is one line.

    Raises:
        UserError: when a line is no text, or a network of one's own has no `step`.
    """
    lines = texts_of(lines, "lines")
    encoded = [vocabulary.encode(line + "\n") for line in lines]
    tree, ids = PrefixTree(stepper_of(model), vocabulary), Lines(encoded)
    prefixes = tree.first(len(lines))
    while len(prefixes.lines):
        prefixes = tree.extend(prefixes, ids)
    scores = [
        LineScore(line, Figure(cost, len(ids)), vocabulary.count_unseen(line, ids))
        for line, cost, ids in zip(lines, prefixes.nats.tolist(), encoded, strict=True)
    ]
    return TreeScores(scores, prefixes.evaluated)
