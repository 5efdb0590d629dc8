"""The longest contexts that occurred before, counted for all positions of a text at once.

The context of length l of a token is the l tokens before it. It matches where the same l tokens occur in the training
text, or earlier in the text itself with a token after them. Contexts are compared by hashes of 64 bits, polynomials
modulo 2^64, by which two contexts of ten million are taken for one with a probability below one in a hundred thousand,
if they have at most 512 tokens.
The training text is read in blocks for each length, so that the memory grows with the text that is measured alone.

N tokens in the text, S matches that are kept for each token.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from refrain.data import TokenSource
from refrain.progress import Track, untracked

Hashes = NDArray[np.uint64]
Counts = NDArray[np.int64]

BLOCK = 1 << 22
"""The number of tokens of the training text that are in memory at a time."""

BASE = 0xD1342543DE82EF95
NEAR_BITS = 22


class Matches(NamedTuple):
    """The longest matches of each token, the longest first.

    Attributes:
        lengths: (S, N), the length of the matching context; 0 where there is none.
        occurrences: (S, N), how often that context occurred before.
        followed: (S, N), how often it was followed by the token.
    """

    lengths: NDArray[np.int32]
    occurrences: NDArray[np.int32]
    followed: NDArray[np.int32]


def find_matches(
    text: TokenSource, train: TokenSource | None, lengths: Sequence[int], *, kept: int, track: Track = untracked
) -> Matches:
    """The matches of each token of a text.

    Args:
        text: the text that is measured; a context does not go beyond its first token.
        train: a text whose tokens are all earlier; None for no training text.
        lengths: the lengths of contexts that are looked for.
        kept: S.
        track: reports the loop over the lengths.
    """
    count = len(text)
    codes = _codes(text.read(0, count))
    text.release()
    matches = Matches(*(np.zeros((kept, count), np.int32) for _ in Matches._fields))
    rank = np.zeros(count, np.int64)
    descending = sorted(set(lengths), reverse=True)
    for length in track(descending, "looking for earlier contexts, by their length", len(descending)):
        if length >= count:
            continue
        hashes = _context_hashes(codes, length)
        occurrences, followed = _counted([hashes, _followed_by(hashes, codes[length:])], train, length)
        at = np.flatnonzero((occurrences > 0) & (rank[length:] < kept))
        place = rank[length + at], length + at
        matches.lengths[place] = length
        matches.occurrences[place] = occurrences[at]
        matches.followed[place] = followed[at]
        rank[length + at] += 1
    return matches


def _counted(requested: Sequence[Hashes], train: TokenSource | None, length: int) -> list[Counts]:
    """How often each context, and each context with its token, occurs in the training text and earlier in the text."""
    distinct = [np.unique(hashes, return_inverse=True) for hashes in requested]
    totals = [np.zeros(len(values), np.int64) for values, _ in distinct]
    near = [_near(values) for values, _ in distinct]
    for codes in _blocks(train, length):
        hashes = _context_hashes(codes, length)
        for index, found in enumerate((hashes, _followed_by(hashes, codes[length:]))):
            values, _ = distinct[index]
            # most hashes of the training text are not among those of the text, and are not sorted
            found = np.sort(found[near[index][found & np.uint64((1 << NEAR_BITS) - 1)]])
            totals[index] += np.searchsorted(found, values, "right") - np.searchsorted(found, values, "left")
    return [total[where] + _earlier(where) for total, (_, where) in zip(totals, distinct, strict=True)]


def _blocks(train: TokenSource | None, length: int) -> Iterator[Hashes]:
    """The codes of the training text in blocks, each with as many tokens before it as a context has."""
    total = 0 if train is None else len(train)
    for start in range(length, total, BLOCK):
        assert train is not None
        yield _codes(train.read(start - length, min(start + BLOCK, total)))
        train.release()


def _codes(ids: NDArray[np.generic]) -> Hashes:
    """A number of 64 bits for each id, different for different ids."""
    codes = np.asarray(ids).astype(np.uint64) + np.uint64(1)
    for factor, shift in ((0x9E3779B97F4A7C15, 31), (0xBF58476D1CE4E5B9, 29)):
        codes *= np.uint64(factor)
        codes ^= codes >> np.uint64(shift)
    return codes


def _context_hashes(codes: Hashes, length: int) -> Hashes:
    """The hash of the `length` codes before each code but the first `length`: the sum of code times BASE^age."""
    count = len(codes)
    powers = np.cumprod(np.full(count + 1, BASE, np.uint64), dtype=np.uint64)
    inverses = np.cumprod(np.full(count, pow(BASE, -1, 1 << 64), np.uint64), dtype=np.uint64)
    before = np.zeros(count + 1, np.uint64)
    np.cumsum(codes * inverses, out=before[1:])
    # the sum of code i times BASE^-(i + 1) over the context, times BASE^t
    sums = before[length:-1] - before[: -1 - length]
    return sums * powers[length - 1 : -2]


def _followed_by(hashes: Hashes, codes: Hashes) -> Hashes:
    return hashes * np.uint64(BASE) + codes


def _near(values: Hashes) -> NDArray[np.bool_]:
    """A table of the last bits of hashes."""
    table = np.zeros(1 << NEAR_BITS, np.bool_)
    table[values & np.uint64((1 << NEAR_BITS) - 1)] = True
    return table


def _earlier(where: Counts) -> Counts:
    """For each element, the number of equal elements before it."""
    order = np.argsort(where, kind="stable")
    ordered = where[order]
    positions = np.arange(len(where))
    first = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    counts = np.empty(len(where), np.int64)
    counts[order] = positions - np.maximum.accumulate(np.where(first, positions, 0))
    return counts
