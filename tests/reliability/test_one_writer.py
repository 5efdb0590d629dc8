"""Promise 13: of two processes that resume one run, one trains, and the other names it and ends."""

import os
import random
import signal
import socket
import sys
import time

import pytest
from blocked_modules import lacks
from processes import PATIENCE
from tiny_runs import EVERY_WINDOW, assert_loadable, command, steps

pytestmark = pytest.mark.skipif(lacks("fcntl") and sys.platform != "win32", reason="no module that locks files")
# seconds in which the other process ends, in the full suite
PROMPT = 2
ENDLESS = ("training.epochs=1000000", "training.sample_tokens=0")


def wait_for_a_step_after(before, process, out):
    end = time.monotonic() + PATIENCE
    while not steps(out) or steps(out)[-1] <= before:
        assert process.poll() is None, process.text()
        assert time.monotonic() < end
        time.sleep(0.005)


def first_to_end(processes):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for process in processes:
            if process.poll() is not None:
                return process
        time.sleep(0.002)
    raise AssertionError("two processes write to one run")


def test_of_two_processes_one_trains(trials, report, prepared, forks, tmp_path):
    out, count, draw = tmp_path / "run", trials(3, 50), random.Random(13)
    process = forks.start(command, prepared.words("word-gru", out, EVERY_WINDOW, *ENDLESS))
    wait_for_a_step_after(0, process, out)
    process.signal(signal.SIGKILL)
    process.wait()
    slowest, named = 0.0, 0
    for _ in range(count):
        # the lock of a process that was killed is left behind each time
        before = steps(out)[-1]
        resume = ["train", "--resume", "--out", out, "--quiet"]
        one = forks.start(command, resume)
        time.sleep(draw.choice((0, draw.uniform(0, 0.05))))
        begun = time.monotonic()
        other = forks.start(command, resume)
        loser = first_to_end((one, other))
        slowest = max(slowest, time.monotonic() - begun)
        winner = other if loser is one else one
        assert loser.wait() == 4, loser.text()
        line = loser.complaint()
        assert line.startswith(f"refrain: {out}: in use by "), line
        named += f"in use by process {winner.pid} on {socket.gethostname()};" in line
        wait_for_a_step_after(before, winner, out)
        winner.signal(signal.SIGKILL)
        assert winner.wait() == -signal.SIGKILL
        assert_loadable(out)
    # a process that looks while the other one writes its name into the lock cannot read it
    assert named >= count - 1 - count // 20
    if count >= 30:
        assert slowest < PROMPT
    report("one writer", f"{count} pairs: one trains, the other ends within {slowest:.2f} s, {named} name the first")


@pytest.mark.skipif(os.name == "nt", reason="Windows removes no file that is open")
def test_a_lock_that_is_deleted_lets_no_other_process_in(prepared, forks, tmp_path):
    out = tmp_path / "run"
    winner = forks.start(command, prepared.words("word-gru", out, EVERY_WINDOW, *ENDLESS))
    wait_for_a_step_after(0, winner, out)
    (out / ".lock").unlink()
    loser, status = forks.status(command, ["train", "--resume", "--out", out, "--quiet"])
    assert status == 4
    assert loser.complaint().startswith(f"refrain: {out}: in use by another process;")
    wait_for_a_step_after(steps(out)[-1], winner, out)
    winner.signal(signal.SIGTERM)
    assert winner.wait() == 143
