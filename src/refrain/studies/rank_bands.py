"""Ranks for bands of words, as they are asked for: 0:100,1000:50 is rank 100 from word 0 and rank 50 from word 1000."""

from collections.abc import Sequence
from itertools import pairwise

from refrain.config.values import percentage
from refrain.errors import UserError

Bands = tuple[tuple[int, int], ...]
"""The first word of each band and its rank."""
Asked = int | str | Sequence[tuple[int, int | str]] | None
"""A rank, or bands with a rank for each; a rank is a number, or a percentage of the present width."""


def written(asked: Asked) -> str:
    """A rank or bands as on the command line: rank=50 or bands=0:100,1000:50."""
    if isinstance(asked, int | str):
        return f"rank={asked}"
    return "bands=" + ",".join(f"{start}:{rank}" for start, rank in asked or ())


def named_rank(part: str, rank: int | Bands) -> str:
    """The rank of a part, or those of its bands, in words."""
    return f"{written(rank).replace('=', ' ')} of the {part}"


def rank_of(option: str, asked: Asked, whole: int, words: int) -> int | Bands | None:
    """Resolve a rank, or the ranks of bands.

    Args:
        option: the option that asks for it, for messages.
        asked: a number or a percentage, or pairs of the first word of a band and its rank; None for no change.
        whole: the present width.
        words: V, the number of words in the vocabulary.

    Raises:
        UserError: when a rank is not below the width, or the bands do not fit the vocabulary.
    """
    if asked is None:
        return None
    name = f"{option} {written(asked)}"
    if isinstance(asked, int | str):
        rank = _resolved(name, asked, whole)
        if not 0 < rank < whole:
            raise UserError(f"{name}: must be at least 1 and below the present width, {whole}")
        return rank
    bands = tuple((start, _resolved(name, rank, whole)) for start, rank in asked)
    starts = [start for start, _ in bands]
    if not starts or starts[0] != 0 or starts != sorted(set(starts)):
        raise UserError(f"{name}: the words at which bands start must ascend from 0, each given once")
    if starts[-1] >= words:
        raise UserError(
            f"{name}: a band starts at word {starts[-1]:,}, but the last of {words:,} words is {words - 1:,}"
        )
    if not all(0 < rank <= whole for _, rank in bands):
        raise UserError(f"{name}: each rank must be at least 1 and at most the present width, {whole}")
    if len(bands) == 1 or all(rank == whole for _, rank in bands):
        raise UserError(
            f"{name}: needs at least two bands, one of them with a rank below {whole}; for one, give rank=N"
        )
    return bands


def _resolved(name: str, asked: int | str, whole: int) -> int:
    share = percentage(asked)
    if share == 0:
        raise UserError(f"{name}: a percentage must be more than 0%")
    try:
        return int(asked) if share is None else max(1, round(share * whole))
    except ValueError:
        raise UserError(f"{name}: must be a number or a percentage such as 25%") from None


def check_frequencies(option: str, bands: Bands, counts: Sequence[float]) -> None:
    """Check that words with a larger rank are not those that occur less often.

    Args:
        option: the option that asks for the bands, for messages.
        bands: the bands.
        counts: how often each word occurs (V,).

    Raises:
        UserError: when they are.
    """
    ends = [*(start for start, _ in bands), len(counts)]
    means = [sum(counts[start:end]) / (end - start) for start, end in pairwise(ends)]
    for (before, after), ((_, rank), (start, following)) in zip(pairwise(means), pairwise(bands), strict=True):
        if (before - after) * (rank - following) < 0:
            raise UserError(
                f"{option} {written(bands)}: words from {start:,} on occur {after:,.3g} times each, those of the band "
                f"before {before:,.3g} times; give the larger rank to more frequent words (the ids of this vocabulary "
                "may be in another order)"
            )
