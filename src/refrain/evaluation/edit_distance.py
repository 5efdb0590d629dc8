"""Word errors of a hypothesis: the smallest number of changes that make it the reference."""

from collections.abc import Sequence


def word_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """The edit distance (Levenshtein, 1966): substitutions, insertions and deletions, each of cost 1.

    Args:
        reference: the words that were said.
        hypothesis: the words that were recognised.
    """
    # distances[j]: from the words of the reference so far to the first j words of the hypothesis
    distances = list(range(len(hypothesis) + 1))
    for row, word in enumerate(reference, 1):
        diagonal, distances[0] = distances[0], row
        for column, other in enumerate(hypothesis, 1):
            substituted = diagonal + (word != other)
            diagonal = distances[column]
            distances[column] = min(substituted, diagonal + 1, distances[column - 1] + 1)
    return distances[-1]
