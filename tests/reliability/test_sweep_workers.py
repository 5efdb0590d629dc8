"""Promise 15: workers of a sweep are killed; each cell has one result, that of a run which nothing stopped."""

import json
import os
import re
import signal
import sys
import time

import pytest
from blocked_modules import lacks
from processes import PATIENCE
from short_runs import assert_same_bits, quiet, trace
from tiny_runs import EVERY_WINDOW, command, steps

from refrain import runs
from refrain.recipes import RECIPES
from refrain.runs.sweeps.plan import Sweep

pytestmark = pytest.mark.skipif(lacks("fcntl") or sys.platform == "win32", reason="no module that locks files")

FILE = """extends = "zaremba-small"
data.corpus = "{corpus}"
model.embedding_size = 4
training.epochs = 2
training.batch_size = 10
training.window_steps = 8
training.sample_tokens = 0
training.device = "cpu"
{every}

[sweep]
seeds = {seeds}

[sweep.space]
model.hidden_sizes = [[4], [6]]
model.dropout = [0.0, 0.1, 0.2]
"""


def claim_of(out, pid):
    """The number of the cell that a process trains, once its run has trained a few windows; None before."""
    for folder in sorted((out / "claims").glob("*.*")):
        beat = folder / "heartbeat.json"
        if beat.exists():
            found = json.loads(beat.read_text())
            run = out / "cells" / folder.name.partition(".")[0]
            if found["pid"] == pid and not found["ended"] and steps(run) and steps(run)[-1] > 1:
                return folder.name.partition(".")[0]
    return None


def kill_within_a_cell(process, out):
    """Kill a worker while it trains a cell, and return the cell; None where the sweep has ended before."""
    end = time.monotonic() + PATIENCE
    while (cell := claim_of(out, process.pid)) is None:
        if process.poll() == 0:
            return None
        assert process.poll() is None and time.monotonic() < end, process.text()
        time.sleep(0.002)
    process.signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    return cell


def test_workers_that_are_killed_lose_no_cell_and_none_is_trained_twice(trials, report, prepared, forks, tmp_path):
    out, kills, seeds = tmp_path / "sweep", trials(2, 20), trials(5, 20)
    # six settings with each seed
    count = 6 * seeds
    file = tmp_path / "sweep.toml"
    file.write_text(FILE.format(corpus=prepared.folder / "words", every=EVERY_WINDOW, seeds=list(range(1, seeds + 1))))
    words = ["sweep", file, "--out", out, "--worker"]
    others = [forks.start(command, words) for _ in range(2)]
    begun, killed, workers = time.monotonic(), [], list(others)
    for _ in range(kills):
        if len(list((out / "results").glob("*.json"))) > count - 4:
            break
        victim = forks.start(command, words)
        workers.append(victim)
        killed += [cell for cell in [kill_within_a_cell(victim, out)] if cell is not None]
    workers.append(forks.start(command, words))
    for process in [*others, workers[-1]]:
        assert process.wait() == 0, process.text()
    results = sorted(path.name for path in (out / "results").iterdir())
    assert results == [f"{number:04d}.json" for number in range(1, count + 1)]
    ended = [number for process in workers for number in re.findall(r"cell (\d+): done", process.text())]
    assert sorted(map(int, ended)) == list(range(1, count + 1))
    assert killed
    again = sorted(path.name for path in (out / "claims").iterdir() if not path.name.endswith(".1"))
    assert len(again) == len(killed) and {name.partition(".")[0] for name in again} == set(killed)
    plan = Sweep(file, RECIPES)
    for cell in dict.fromkeys(killed):
        # what was resumed is, bit for bit, what it would have been
        runs.train(plan.cell(int(cell)).experiment, tmp_path / "alone" / cell, progress=quiet())
        assert_same_bits(trace(out / "cells" / cell), trace(tmp_path / "alone" / cell))
    seconds = time.monotonic() - begun
    report(
        "sweep workers", f"{count} cells, {len(killed)} workers killed: {count} results, none twice, {seconds:.0f} s"
    )


def test_a_worker_that_is_stopped_leaves_its_cell_at_once(prepared, forks, tmp_path):
    out, file = tmp_path / "sweep", tmp_path / "sweep.toml"
    text = FILE.format(corpus=prepared.folder / "words", every=EVERY_WINDOW, seeds=[1])
    file.write_text(text.replace("epochs = 2", "epochs = 100000"))
    process = forks.start(command, ["sweep", file, "--out", out, "--index", "2"])
    end = time.monotonic() + PATIENCE
    while claim_of(out, process.pid) is None:
        assert process.poll() is None and time.monotonic() < end, process.text()
        time.sleep(0.005)
    # another one for the same cell ends with the name of the first
    other, status = forks.status(command, ["sweep", file, "--out", out, "--index", "2"])
    assert status == 4 and f"cell 2 is being trained by process {process.pid} on " in other.complaint()
    process.signal(signal.SIGTERM)
    assert process.wait() == 143, process.text()
    assert json.loads((out / "claims" / "0002.1" / "heartbeat.json").read_text())["ended"]
    # as a job of an array that is queued again after a preemption
    before = steps(out / "cells" / "0002")[-1]
    process = forks.start(command, ["sweep", file, "--out", out, "--index", "2"])
    while claim_of(out, process.pid) is None or steps(out / "cells" / "0002")[-1] <= before:
        assert process.poll() is None and time.monotonic() < end, process.text()
        time.sleep(0.005)
    assert "resuming" in process.text()
    process.signal(signal.SIGKILL)
    process.wait()
    assert os.listdir(out / "results") == []
