"""Interpolation with the continuations of the longest matches: the text may be copied from what was read before.

The longest suffix of the history that occurred before predicts the tokens that followed it there (Liu et al., 2024,
Infini-gram: Scaling Unbounded n-gram Language Models to a Trillion Tokens, arXiv 2401.17377, sections 2 and 5). What
occurred before is the training text and the part of the measured text that has been read, a cache without a bound
(Grave et al., 2017, Unbounded cache model for online language modeling with open vocabulary, arXiv 1711.02604).

With the history h, its S longest suffixes h_1, ..., h_S that occurred before, c(g) the number of times that g occurred
before, and c(g w) the number of times that it was followed by w:

    p(w | h) = a_0(b) p_network(w | h) + sum_i a_i(b) c(h_i w) / c(h_i)

The weights a_i(b) are at least 0, sum to one, and depend on the bucket b of the match: the length of h_1 and the binary
logarithm of c(h_1). None of them depends on w, and each term is a distribution, so that the probabilities sum to one.
Where there are fewer than S matches, the network has the weights of the missing ones, and without a match it predicts
alone. The weights of each bucket are chosen on the validation text by expectation maximisation:

    a_i(b)  <-  (d_i + sum over the tokens w after h in b of  a_i(b) p_i(w | h) / p(w | h)) / (tokens in b + sum of d)

where d are the weights of all buckets together, times PRIOR tokens, so that rare buckets have sensible weights.

Departures: the infini-gram mixture uses the longest match alone and two weights, one for matches with a single
continuation. Lengths are those of a short list instead of all.

N tokens in the text, S matches that are kept for each token.
"""

import numpy as np
from numpy.typing import NDArray

from refrain.data import TokenSource
from refrain.progress import Track, untracked

from .match_counts import Matches, find_matches
from .methods import Match

Floats = NDArray[np.float64]

KEPT = 3
"""S, the number of matches that are mixed."""

OCCURRENCES = 6
"""The number of classes of c(h_1): 1, 2 to 3, 4 to 7, ..., 32 and more."""

PRIOR = 20.0
ROUNDS = 60
SMALLEST = 1e-6
LENGTHS = (1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64)


def lengths_of(match: Match) -> list[int]:
    """The lengths of contexts that are looked for: those of `LENGTHS` up to the longest, and the longest itself."""
    return [*(length for length in LENGTHS if length < match.longest), match.longest]


class LongestMatch:
    """A mixture of a model with the continuations of the longest matches; see the module for its equations.

    Args:
        match: its settings.
        train: the training text; it is read for each text that is measured. None copies from the history alone.

    Attributes:
        weights: (S + 1, B), the weights of the model and of the matches for each of B buckets; None before `fit`.
    """

    def __init__(self, match: Match, train: TokenSource | None) -> None:
        self._lengths = lengths_of(match)
        self._train = train
        self.weights: Floats | None = None

    def fit(self, text: TokenSource, nats: Floats, *, track: Track = untracked) -> None:
        """Choose the weights on a text that is not part of the training text.

        Args:
            text: the validation text.
            nats: (N - 1,), those of each token but the first by the model.
            track: reports the search for matches.
        """
        parts, buckets = self._parts(text, nats, track)
        everywhere = _fitted(parts, np.zeros_like(buckets), np.full((len(parts), 1), 1 / len(parts)), 0.0, 1)
        # without a match all parts are that of the model
        self.weights = _fitted(parts, buckets, everywhere, PRIOR, self._buckets)

    def nats(self, text: TokenSource, nats: Floats, *, track: Track = untracked) -> Floats:
        """The nats (N - 1,) of each token of a text but the first, by the mixture.

        Args:
            text: the text.
            nats: (N - 1,), those by the model.
            track: reports the search for matches.

        Raises:
            ValueError: when the weights were not fitted.
        """
        if self.weights is None:
            raise ValueError("the weights of the matches are missing; call fit with the validation text first")
        parts, buckets = self._parts(text, nats, track)
        mixed = _mixed(parts, buckets, self.weights)
        # exp(-nats) can be zero in floating point; the model alone is then a bound that is finite
        bound: Floats = nats - np.log(self.weights[0, buckets])
        return -np.log(mixed, out=-bound, where=mixed > 0)

    @property
    def _buckets(self) -> int:
        return (len(self._lengths) + 1) * OCCURRENCES

    def _parts(self, text: TokenSource, nats: Floats, track: Track) -> tuple[Floats, NDArray[np.int64]]:
        """The probability of each token but the first by each part (S + 1, N - 1), and its bucket (N - 1,)."""
        found = find_matches(text, self._train, self._lengths, kept=KEPT, track=track)
        matches = Matches(*(field[:, 1:] for field in found))
        model = np.exp(-nats)
        followed = matches.followed / np.maximum(matches.occurrences, 1)
        copied = np.where(matches.occurrences > 0, followed, model)
        return np.concatenate([model[None], copied]), self._bucket(matches)

    def _bucket(self, matches: Matches) -> NDArray[np.int64]:
        length = np.searchsorted(self._lengths, matches.lengths[0], "right")
        times = np.log2(np.maximum(matches.occurrences[0], 1)).astype(np.int64)
        bucket: NDArray[np.int64] = length * OCCURRENCES + np.minimum(times, OCCURRENCES - 1)
        return bucket


def _mixed(parts: Floats, buckets: NDArray[np.int64], weights: Floats) -> Floats:
    mixed: Floats = (weights[:, buckets] * parts).sum(axis=0)
    return mixed


def _fitted(parts: Floats, buckets: NDArray[np.int64], start: Floats, prior: float, count: int) -> Floats:
    """The weights (S + 1, count) of buckets, by expectation maximisation from the weights `start` (S + 1, 1)."""
    weights = np.repeat(start, count, axis=1)
    for _ in range(ROUNDS):
        shares = weights[:, buckets] * parts
        total = shares.sum(axis=0)
        shares = np.divide(shares, total, out=np.repeat(start, len(total), axis=1), where=total > 0)
        sums = np.stack([np.bincount(buckets, share, count) for share in shares]) + prior * start
        totals = sums.sum(axis=0)
        weights = np.where(totals > 0, sums / np.maximum(totals, 1e-300), start)
    # the model is never left out, so that no token has the probability zero
    weights[0] = np.maximum(weights[0], SMALLEST)
    normalised: Floats = weights / weights.sum(axis=0)
    return normalised
