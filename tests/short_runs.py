"""What tests of short training runs share: texts, progress that is silent or stops the run, and traces of runs."""

import json
import os
import signal
from typing import NamedTuple

import torch

from refrain.storage.run_folder import RunFolder
from refrain.training import PlainProgress

CLOCKS = ("wall_seconds", "tokens_per_second")
# what a run that is lengthened knows only later
LENGTH = ("last_step",)


def quiet():
    return PlainProgress(quiet=True)


class Stopping(PlainProgress):
    """Keeps the lines that are logged, and sends this process a signal after a number of windows.

    Args:
        windows: the number of windows; 0 sends none.
        number: the signal.
    """

    def __init__(self, windows=0, number=signal.SIGTERM):
        super().__init__(quiet=True)
        self.windows, self.number, self.lines = windows, number, []

    def log(self, line):
        self.lines.append(line)

    def window(self, position, windows, epochs):
        self.windows -= 1
        if self.windows == 0:
            os.kill(os.getpid(), self.number)


def write_splits(folder, text, copies):
    """Write the splits train, valid and test, each with its number of copies of a text, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in zip(("train", "valid", "test"), copies, strict=True):
        (folder / f"{split}.txt").write_text(text * count)
    return folder


def write_cat_and_dog(folder):
    """Three splits of two sentences that alternate: six words and the line end."""
    return write_splits(folder, "the cat sat\nthe dog ran away\n", (60, 20, 20))


class Trace(NamedTuple):
    """What must be the same after two runs: state, tensors, metrics, samples and figures, without the clock."""

    training: dict
    tensors: dict
    metrics: list
    samples: dict
    figures: dict


def last_checkpoint(folder):
    """The state of training, without the clock, and the tensors of the newest checkpoint of a run."""
    checkpoint, problems = RunFolder(folder).newest()
    assert not problems
    training = checkpoint.document("training")
    for name in ("seconds", "metrics_bytes"):
        training["position"].pop(name)
    return training, {**checkpoint.tensors("model"), **checkpoint.tensors("training")}


def metrics_of(folder):
    """The lines of metrics of a run, without the clock and the expected end."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in CLOCKS + LENGTH} for line in lines]


def trace(folder):
    """The trace of a run, which may be unfinished."""
    training, tensors = last_checkpoint(folder)
    metrics = metrics_of(folder)
    samples = {path.name: path.read_text() for path in (folder / "samples").iterdir()}
    summary = json.loads((folder / "summary.json").read_text()) if (folder / "summary.json").exists() else {}
    return Trace(training, tensors, metrics, samples, {split: summary.get(split) for split in ("valid", "test")})


def assert_same_bits(found, wanted):
    """Fail unless two runs ended alike, bit for bit."""
    assert found.training == wanted.training
    assert found.tensors.keys() == wanted.tensors.keys()
    differing = [name for name, tensor in found.tensors.items() if not torch.equal(tensor, wanted.tensors[name])]
    assert not differing
    assert found[2:] == wanted[2:]
