"""The reliability suite: each promise of docs/reliability.md is tested here.

`make test` runs a small share of each test, `make reliability` (pytest --reliability) the full number of trials, for
hours. At the end the figures of each promise are printed, one line each.
"""

import os
import pathlib

import pytest

# hours; the deadline of a test that runs its full number of trials
FULL_DEADLINE_SECONDS = 4 * 3600


def pytest_collection_modifyitems(config, items):
    if config.getoption("reliability"):
        here = pathlib.Path(__file__).parent
        for item in items:
            if here in item.path.parents:
                item.add_marker(pytest.mark.timeout(FULL_DEADLINE_SECONDS))


@pytest.fixture
def trials(request):
    """Choose a number of trials: `trials(30, 500)` is 30, and 500 with --reliability.

    $REFRAIN_TRIALS is a factor for the full number, to rehearse a long run, as in REFRAIN_TRIALS=0.1.
    """

    def choose(share, full):
        if not request.config.getoption("reliability"):
            return share
        return max(share, round(full * float(os.environ.get("REFRAIN_TRIALS", "1"))))

    return choose


@pytest.fixture
def report(record_property):
    """Report a figure: `report("kills", "500 kills, 500 bit-identical")`; it is printed when the session ends."""

    def report(promise, figure):
        record_property("reliability", (promise, figure))

    return report


@pytest.fixture
def unflushed(monkeypatch):
    """Files are not flushed to the disk, which takes time and matters only to a machine that crashes."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
