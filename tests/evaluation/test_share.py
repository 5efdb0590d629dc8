"""Shares of right answers have Wilson's interval."""

import pytest

from refrain.evaluation.share import Share


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [
        # Wilson's bounds: (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n); with p = 1 the lower is 1 / (1 + z²/n)
        (10, 10, 1 / (1 + 1.959963984540054**2 / 10), 1.0),
        (0, 10, 0.0, 1 - 1 / (1 + 1.959963984540054**2 / 10)),
        # symmetric about one half: half the width is z sqrt(1/4n + z²/4n²) / (1 + z²/n)
        (50, 100, 0.5 - 0.0961693, 0.5 + 0.0961693),
    ],
)
def test_wilsons_interval(right, total, low, high):
    assert Share(right, total).interval == (pytest.approx(low, abs=1e-6), pytest.approx(high, abs=1e-6))


def test_no_answers_have_no_share():
    assert Share(0, 0).interval is None and Share(0, 0).accuracy is None
