"""The reliability suite: each promise of docs/reliability.md is tested here.

`make test` runs a small share of each test, `make reliability` (pytest --reliability) the full number of trials, for
hours. At the end the figures of each promise are printed, one line each.
"""

import os
import pathlib

import pytest
from fork_server import fork_server
from tiny_runs import prepare

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


@pytest.fixture(scope="session")
def forks(tmp_path_factory, cache):
    """Starts processes of a trial, see `fork_server.py`."""
    if not hasattr(os, "fork"):
        pytest.skip("processes cannot be forked here")
    with fork_server(tmp_path_factory.mktemp("output")) as server:
        yield server


@pytest.fixture(scope="session")
def prepared(tmp_path_factory, cache):
    """The texts and the tiny recipes that runs of the reliability suite are made of, see `tiny_runs.py`."""
    return prepare(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def unflushed(monkeypatch):
    """Files are not flushed to the disk, which takes time and matters only to a machine that crashes."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
