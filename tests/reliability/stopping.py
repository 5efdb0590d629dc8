"""Runs that were stopped on the way, by a signal that the process sends to itself."""

import os
import signal

import pytest

from refrain import runs
from refrain.training import Interrupted, PlainProgress


class Reporting(PlainProgress):
    """Keeps what is reported, and sends the process a signal after a number of windows."""

    def __init__(self, windows=0):
        super().__init__(quiet=True)
        self.lines, self.windows = [], windows

    def log(self, line):
        self.lines.append(line)

    def window(self, position, windows, epochs):
        self.windows -= 1
        if self.windows == 0:
            os.kill(os.getpid(), signal.SIGTERM)


def train_and_stop(experiment, folder, windows):
    """Train until a number of windows; the run then has a checkpoint of this place and at least one earlier one."""
    with pytest.raises(Interrupted):
        runs.train(experiment, folder, progress=Reporting(windows))
    assert len(list((folder / "checkpoints").iterdir())) >= 2
    return folder
