"""A paired bootstrap test of two models on one text: lines, or sentences, are drawn again with replacement.

Efron and Tibshirani (1993), An Introduction to the Bootstrap, sections 13.3 and 16.4; Koehn (2004), Statistical
Significance Tests for Machine Translation Evaluation. N lines, R resamples.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refrain.errors import DataError

RESAMPLES = 10_000
MOST_UNITS = 20_000
"""More lines than this are joined to as many runs of adjacent lines, so that the time does not grow with the text."""
# entries of the table of drawn lines that are held at a time
_CHUNK = 1 << 22


class PairedTest(NamedTuple):
    """The difference of two means, and how far another choice of lines would move it.

    Attributes:
        difference: the difference of the two figures, each a sum over the lines divided by a sum of sizes.
        low: the lower end of the 95 % interval, the 2.5 % quantile of the resamples.
        high: the upper end, the 97.5 % quantile.
        p_value: the share of resamples whose distance from the difference is at least that of the difference from 0,
            counting the text itself as one of them. Two-sided.
        lines: N, the number of lines of a positive size.
        resamples: R.
    """

    difference: float
    low: float
    high: float
    p_value: float
    lines: int
    resamples: int

    def document(self) -> dict[str, Any]:
        """The test as plain data."""
        return {**self._asdict(), "interval": [self.low, self.high]}


def paired_bootstrap(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    sizes: NDArray[np.float64],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> PairedTest:
    """Test whether two models differ on a text: sum(first) / sum(sizes) - sum(second) / sum(sizes).

    Args:
        first: what the first model has for each line (N,), such as the nats of a line.
        second: what the second model has for each line (N,).
        sizes: the size of each line (N,), such as its number of tokens. Lines of size 0, such as sentences without a
            tag, say nothing and are left out.
        resamples: R, the number of times that N lines are drawn.
        seed: the same seed gives the same figures.

    Raises:
        DataError: when there are fewer than two lines of a positive size, or a value is not finite.
        ValueError: when the arrays differ in length, or `resamples` is less than 1.
    """
    if not len(first) == len(second) == len(sizes) or resamples < 1:
        raise ValueError("first, second and sizes must be of one length, and resamples at least 1")
    used = np.asarray(sizes, np.float64) > 0
    lines = int(used.sum())
    if lines < 2:
        raise DataError(f"a test draws lines and needs at least 2 (got {lines}); give a text of more lines")
    gaps, sizes = _joined((first - second)[used]), _joined(np.asarray(sizes, np.float64)[used])
    if not np.isfinite(gaps).all():
        raise DataError("a test needs finite values: a model gives some line a probability of 0, or none")
    observed = float(gaps.sum() / sizes.sum())
    random = np.random.default_rng(seed)
    drawn = np.empty(resamples)
    rows = max(1, _CHUNK // len(gaps))
    for start in range(0, resamples, rows):
        stop = min(start + rows, resamples)
        chosen = random.integers(0, len(gaps), (stop - start, len(gaps)))
        drawn[start:stop] = gaps[chosen].sum(axis=1) / sizes[chosen].sum(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    # as far as rounding goes, an equal distance is not a smaller one
    farther = np.count_nonzero(np.abs(drawn - observed) >= abs(observed) * (1 - 1e-12))
    return PairedTest(observed, float(low), float(high), float((1 + farther) / (1 + resamples)), lines, resamples)


def _joined(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over runs of adjacent lines, where there are very many lines."""
    if len(values) <= MOST_UNITS:
        return values
    starts = np.arange(MOST_UNITS) * len(values) // MOST_UNITS
    joined: NDArray[np.float64] = np.add.reduceat(values, starts)
    return joined
