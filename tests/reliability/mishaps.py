"""Trains a run in which a rank comes to grief: `python mishaps.py TEXT OUT MISHAP RANK STEP [LIMIT] [DTYPE]`.

The time of the mishap is written to `OUT.time`.

The mishap is one of kill, stop, raise, lag, terminate, none; any other happens outside the ranks, at the time that is
written. The limits in seconds by which ranks are judged are divided by LIMIT, so that tests need not wait for
long. A run that exists is resumed, without the mishap.
"""

import os
import pathlib
import signal
import sys
import time

import torch

from refrain import recipe, runs
from refrain.parallel import joined, watch

SETTINGS = (
    "model.embedding_size=8",
    "model.hidden_sizes=[8,8]",
    "model.dropout=0.3",
    "training.batch_size=5",
    "training.window_steps=4",
    "training.sample_tokens=0",
    "training.log_windows=10",
    "training.checkpoint_minutes=0.001",
    "training.epochs=4",
)
KINDS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "terminate": signal.SIGTERM}


class Mishap:
    """Something that happens to a rank at a step."""

    name = "mishap"

    def __init__(self, kind, rank, step, file):
        self.kind, self.rank, self.step, self.steps, self.file = kind, rank, step, 0, file

    def before_step(self, window):
        """Let it happen."""
        self.steps += 1
        if self.steps != self.step or window.ranks.rank != self.rank:
            return
        self.file.write_text(str(time.time()))
        if self.kind in KINDS:
            os.kill(os.getpid(), KINDS[self.kind])
        elif self.kind == "raise":
            raise ArithmeticError("the third column is wrong")
        elif self.kind == "lag":
            time.sleep(600)


def main(text, out, kind, rank, step, limit="1", dtype="float32"):
    torch.set_default_dtype(getattr(torch, dtype))
    for name in ("SILENT", "SILENT_WHEN_BROKEN", "LAG", "LAG_AT_FIRST", "SECOND", "FROZEN"):
        setattr(watch, name, getattr(watch, name) / float(limit))
    there = pathlib.Path(out, "checkpoints").is_dir()
    with joined():
        mishap = Mishap("none" if there else kind, int(rank), int(step), pathlib.Path(f"{out}.time"))
        if there:
            runs.resume(out, methods=[mishap])
        else:
            runs.train(recipe("zaremba-small", *SETTINGS, data=text), out, methods=[mishap])


if __name__ == "__main__":
    main(*sys.argv[1:])
