"""Promise 1: a run that is killed at any moment continues, and ends with the bits of a run that was not.

Each chain is one run, which is killed several times, at random times or while a checkpoint is written, and resumed.
"""

import json
import os
import random
import shutil
import signal
import time

import pytest
from short_runs import assert_same_bits, trace
from tiny_runs import EVERY_WINDOW, RECIPES, assert_loadable, leftovers, steps, train

from refrain import runs
from refrain.training import PlainProgress

# of the kills, those that wait for a checkpoint being written; others come in one by chance
AIMED = 0.25
# seconds in which a checkpoint is written, roughly: a kill that is aimed at one comes within this time
WRITING = 0.01


class Noting(PlainProgress):
    """Writes the number of finished windows to a file, where it outlives the process."""

    def __init__(self, path):
        super().__init__(quiet=True)
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT)

    def window(self, position, windows, epochs):
        os.pwrite(self._handle, f"{position.step:9d}".encode(), 0)


def train_or_resume(prepared, name, settings, out, notes):
    progress = Noting(notes)
    if steps(out):
        runs.resume(out, progress=progress)
    else:
        train(prepared.experiment(name, *settings), out, prepared.start(name), progress)


def is_writing(out):
    return any(name.startswith(".tmp-") for name in os.listdir(out / "checkpoints"))


def wait_for_a_save(process, out):
    end = time.monotonic() + 2
    while time.monotonic() < end and process.poll() is None:
        if (out / "checkpoints").is_dir() and is_writing(out):
            return
        time.sleep(0.0005)


class Chain:
    """A run that is killed and resumed again and again."""

    def __init__(self, forks, prepared, name, out, draw, settings):
        self.forks, self.out, self.draw, self.settings = forks, out, draw, settings
        self.notes = out.with_suffix(".notes")
        self.arguments = (prepared, name, self.settings, out, self.notes)
        lines = (prepared.uninterrupted(name) / "metrics.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        self.epoch_ends = [record["step"] for record in records if record["event"] == "valid"]
        self.kills, self.writing = 0, 0

    def run(self, seconds):
        """Kill the run up to eight times, within the seconds that it takes by its settings, and let it end."""
        for _ in range(self.draw.randint(3, 8)):
            process = self.forks.start(train_or_resume, *self.arguments)
            done = max(steps(self.out), default=0) / self.epoch_ends[-1]
            # the work that is left, and a part for the start and the end of a process
            time.sleep(self.draw.uniform(0, seconds[self.settings] * (1.05 - done)))
            if self.draw.random() < AIMED:
                wait_for_a_save(process, self.out)
                time.sleep(self.draw.uniform(0, WRITING))
            process.signal(signal.SIGKILL)
            status = process.wait()
            assert status in (0, -signal.SIGKILL), process.text()
            if status == 0:
                return
            self.kills += 1
            self.check_after_a_kill()
        process, status = self.forks.status(train_or_resume, *self.arguments)
        assert status == 0, process.text()

    def check_after_a_kill(self):
        self.writing += (self.out / "checkpoints").is_dir() and is_writing(self.out)
        assert_loadable(self.out)
        noted = int(self.notes.read_bytes() or b"0") if self.notes.exists() else 0
        if not noted:
            return
        every_window = bool(self.settings)
        saved = noted - 1 if every_window else max((step for step in self.epoch_ends if step < noted), default=0)
        assert steps(self.out) and steps(self.out)[-1] >= saved, "more work was lost than that of one interval"


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_that_is_killed_anywhere_ends_with_the_same_bits(name, trials, report, prepared, forks, tmp_path):
    count, draw = trials(3, 100), random.Random(name)
    wanted = trace(prepared.uninterrupted(name))
    seconds, few = {}, count < 10
    for settings in ((EVERY_WINDOW,),) if few else ((EVERY_WINDOW,), ()):
        out, begun = tmp_path / f"whole-{len(settings)}", time.monotonic()
        forks.status(train_or_resume, prepared, name, settings, out, tmp_path / "notes")
        seconds[settings] = time.monotonic() - begun
        assert_same_bits(trace(out), wanted)
    kills = writing = chains = 0
    while kills < count:
        # most runs save after every window, the others after every epoch alone
        out = tmp_path / f"chain-{chains}"
        chain = Chain(forks, prepared, name, out, draw, (EVERY_WINDOW,) if few or draw.random() < 0.8 else ())
        chain.run(seconds)
        assert_same_bits(trace(out), wanted)
        assert leftovers(out) == []
        shutil.rmtree(out)
        kills, writing, chains = kills + chain.kills, writing + chain.writing, chains + 1
        assert chains <= 10 * count + 10, "the processes end before they are killed"
    if count >= 50:
        assert writing >= 0.15 * kills
    report("kill anywhere", f"{name}: {kills} kills, {writing} of them in a save; {chains} runs, all the same bits")
