"""Runs that were stopped on the way, by a signal that the process sends to itself."""

import pytest
from short_runs import Stopping

from refrain import runs
from refrain.training import Interrupted


def train_and_stop(experiment, folder, windows):
    """Train until a number of windows; the run then has a checkpoint of this place and at least one earlier one."""
    with pytest.raises(Interrupted):
        runs.train(experiment, folder, progress=Stopping(windows))
    assert len(list((folder / "checkpoints").iterdir())) >= 2
    return folder
