"""The paired bootstrap: coverage on made data, agreement with the analytic standard error, and its extremes."""

import math

import numpy as np
import pytest

from refrain.errors import DataError
from refrain.evaluation.paired import MOST_UNITS, paired_bootstrap


def made(random, lines, gap):
    """Nats of two models that share what is hard about a line, and the tokens of each line."""
    sizes = random.integers(5, 40, lines).astype(float)
    hard = random.gamma(4.0, 1.0, lines) * sizes
    return hard + sizes * (gap + random.normal(0, 0.5, lines)), hard, sizes


def test_the_interval_covers_the_true_difference_as_often_as_it_says():
    random, gap, trials = np.random.default_rng(1), 0.05, 400
    hits = rejected = 0
    for trial in range(trials):
        test = paired_bootstrap(*made(random, 150, gap), resamples=400, seed=trial)
        hits += test.low <= gap <= test.high
        rejected += paired_bootstrap(*made(random, 150, 0.0), resamples=400, seed=trial).p_value < 0.05
    # 95 % of 400 with a standard deviation of 4.4; the quantiles of a bootstrap are a little narrow
    assert 0.91 < hits / trials < 0.985
    assert 0.02 < rejected / trials < 0.09


def test_the_width_is_that_of_the_analytic_standard_error():
    """Of a ratio of sums: the deviation of the gaps from their share of the size (Cochran, 1977, section 2.11)."""
    # so large that the sizes of the drawn lines matter as well
    first, second, sizes = made(np.random.default_rng(2), 1000, 1.0)
    test = paired_bootstrap(first, second, sizes)
    difference = (first.sum() - second.sum()) / sizes.sum()
    assert test.difference == pytest.approx(difference, rel=1e-12)
    rest = first - second - difference * sizes
    error = np.sqrt((rest**2).sum()) / sizes.sum()
    assert (test.high - test.low) / (2 * 1.959964) == pytest.approx(error, rel=0.03)
    assert (test.low + test.high) / 2 == pytest.approx(difference, abs=0.1 * error)


def test_identical_models_do_not_differ():
    first, _, sizes = made(np.random.default_rng(3), 50, 0.0)
    assert paired_bootstrap(first, first, sizes)[:4] == (0.0, 0.0, 0.0, 1.0)


def test_a_difference_that_every_line_has_is_certain_and_changes_sign_with_the_order():
    _, second, sizes = made(np.random.default_rng(4), 50, 0.0)
    test = paired_bootstrap(second + 0.25 * sizes, second, sizes, resamples=999)
    assert test[:3] == pytest.approx((0.25, 0.25, 0.25)) and test.p_value == 1 / 1000
    other = paired_bootstrap(second, second + 0.25 * sizes, sizes, resamples=999)
    assert other[:3] == pytest.approx((-0.25, -0.25, -0.25)) and other.p_value == 1 / 1000


def test_the_seed_decides():
    data = made(np.random.default_rng(5), 60, 0.02)
    one = paired_bootstrap(*data, seed=1)
    assert one == paired_bootstrap(*data, seed=1) != paired_bootstrap(*data, seed=2)


def test_very_many_lines_are_joined_to_adjacent_ones():
    first, second, sizes = made(np.random.default_rng(6), 3 * MOST_UNITS, 0.01)
    test = paired_bootstrap(first, second, sizes, resamples=300)
    rest = first - second - test.difference * sizes
    error = np.sqrt((rest**2).sum()) / sizes.sum()
    assert (test.high - test.low) / (2 * 1.959964) == pytest.approx(error, rel=0.15)
    assert test.lines == 3 * MOST_UNITS
    assert test.difference == pytest.approx((first.sum() - second.sum()) / sizes.sum())


def test_mistakes():
    with pytest.raises(DataError, match=r"^a test draws lines and needs at least 2 \(got 1\); give"):
        paired_bootstrap(np.ones(1), np.ones(1), np.ones(1))
    for more in ({"resamples": 0}, {}):
        with pytest.raises(ValueError, match="one length"):
            paired_bootstrap(np.ones(3), np.ones(3), np.ones(3 if more else 2), **more)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite_are_refused(value):
    with pytest.raises(DataError, match="a test needs finite values"):
        paired_bootstrap(np.array([value, 1.0, 2.0]), np.ones(3), np.ones(3))
    # a line of no size says nothing
    found = paired_bootstrap(np.array([value, 1.0, 2.0]), np.ones(3), np.array([0.0, 1.0, 1.0]))
    assert type(found.p_value) is float


def test_lines_of_size_zero_are_left_out():
    """Such as sentences without a tag: resamples of these alone have no mean."""
    first, second, sizes = np.array([3.0, 0, 1, 0, 2]), np.array([2.0, 0, 1, 0, 0]), np.array([4.0, 0, 3, 0, 5])
    found = paired_bootstrap(first, second, sizes, resamples=500)
    assert found == paired_bootstrap(first[::2], second[::2], sizes[::2], resamples=500)
    assert found.lines == 3 and math.isfinite(found.low) and math.isfinite(found.high)
    with pytest.raises(DataError, match=r"needs at least 2 \(got 1\)"):
        paired_bootstrap(first[:2], second[:2], sizes[:2])
