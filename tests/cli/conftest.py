import json
from typing import NamedTuple

import pytest

from refrain.cli.app import main


class Outcome(NamedTuple):
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def json(self):
        """The one object on standard output."""
        assert self.status == 0, self.err
        assert self.out.endswith("\n")
        assert self.out.count("\n") == 1
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found

    @property
    def complaints(self):
        """The mistakes on standard error; other lines there report progress."""
        assert "Traceback" not in self.err
        return [line for line in self.err.splitlines() if line.startswith("refrain: ")]


@pytest.fixture
def refrain(capsys):
    """Runs a command in this process."""

    def call(*words):
        capsys.readouterr()
        status = main([str(word) for word in words])
        return Outcome(status, *capsys.readouterr())

    return call


@pytest.fixture
def mistake(refrain):
    """Runs a command that fails: its status is as given, and one line on standard error contains all of `parts`."""

    def call(status, words, *parts):
        outcome = refrain(*words)
        assert (outcome.status, outcome.out) == (status, ""), outcome.err
        (line,) = outcome.complaints
        for part in parts:
            assert str(part) in line
        return line

    return call


@pytest.fixture
def train(tiny_settings, tmp_path):
    """The words that train the shrunken recipe on a corpus, into the test's folder."""

    def words(corpus, *more):
        return ["train", "zaremba-small", *tiny_settings, "--data", corpus, "--out", tmp_path / "run", *more]

    return words


@pytest.fixture
def checkpoints():
    """The checkpoints of a run, oldest first."""
    return lambda run: sorted((run / "checkpoints").iterdir())
