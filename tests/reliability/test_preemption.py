"""Promise 5: a signal stops a run at any moment, with a checkpoint once it trains, and the run continues as before."""

import random
import re
import shutil
import signal
import sys
import time

import pytest
from processes import PATIENCE
from short_runs import assert_same_bits, trace
from test_kill_anywhere import wait_for_a_save
from tiny_runs import RECIPES, assert_loadable, command, leftovers, resume_run, steps

from refrain.storage.run_folder import RunFolder
from refrain.training.interrupt import SIGNALS

STATUS = {number: 130 if number == signal.SIGINT else 143 for number in SIGNALS}
# seconds from the signal to the end, in the full suite
PROMPT = 5


def ready_command(words, ready):
    """Say that signals are handled from here on, as they are soon after a process has started, and call a command."""
    for each in set(STATUS) - {signal.SIGINT}:
        signal.signal(each, lambda number, frame: sys.exit(STATUS[number]))
    ready.touch()
    return command(words)


def wait_for(path):
    end = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.001)


def wait_for_training(process, out):
    end = time.monotonic() + PATIENCE
    while not steps(out) and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.001)


def check_stopped(process, out):
    """The checkpoint is of the window that the message names."""
    line = process.complaint()
    found = re.match(r"refrain: stopped in epoch (\d+) after window (\d+); continue with: refrain train --resume", line)
    assert found, line
    position = RunFolder(out).newest()[0].document("training")["position"]
    epoch, window = int(found[1]), int(found[2])
    assert (position["epoch"] + 1, position["window"]) in ((epoch, window), (epoch + 1, 0))


def test_a_signal_stops_a_run_at_any_moment(trials, report, prepared, forks, cache, tmp_path, monkeypatch):
    count, draw, slowest = trials(3, 50), random.Random(5), 0.0
    stopped = 0
    for number in range(count):
        name, sent = draw.choice(list(RECIPES)), draw.choice(list(STATUS))
        out, ready, fresh = tmp_path / "run", tmp_path / "ready", tmp_path / "fresh"
        words = prepared.words(name, out)
        # in every third run the text has yet to be prepared; kernels are compiled once
        monkeypatch.setenv("REFRAIN_CACHE", str(fresh if number % 3 == 0 else cache))
        for compiled in cache.glob("native*"):
            shutil.copytree(compiled, fresh / compiled.name)
        process = forks.start(ready_command, words, ready)
        wait_for(ready)
        time.sleep(draw.uniform(0, (0.06, 0.6, 0.0)[number % 3]))
        if number % 3 == 1:
            wait_for_a_save(process, out)
        elif number % 3 == 2:
            wait_for_training(process, out)
            time.sleep(draw.uniform(0, 0.2))
        begun = time.monotonic()
        process.signal(sent)
        status = process.wait()
        slowest = max(slowest, time.monotonic() - begun)
        assert status in (0, STATUS[sent]), process.text()
        assert "Traceback" not in process.text()
        if "stopped in" in process.text():
            check_stopped(process, out)
            stopped += 1
        assert leftovers(fresh) == [] and (not out.exists() or leftovers(out) == [])
        assert_loadable(out)
        resume_run(forks, words, out)
        assert_same_bits(trace(out), trace(prepared.uninterrupted(name)))
        for path in (out, fresh):
            shutil.rmtree(path, ignore_errors=True)
        ready.unlink()
    if count >= 30:
        assert slowest < PROMPT
    report("preemption", f"{count} signals, {stopped} while training, the same bits; at most {slowest:.2f} s to stop")


def stuck_command(words, stuck):
    """Train, and hang after the third window."""
    from refrain.training import PlainProgress

    def window(self, position, windows, epochs):
        if position.step == 3:
            stuck.touch()
            end = time.monotonic() + PATIENCE
            while time.monotonic() < end:
                time.sleep(1)

    PlainProgress.window = window
    return command(words)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_the_run_at_once(number, prepared, forks, tmp_path):
    out, stuck = tmp_path / "run", tmp_path / "stuck"
    words = prepared.words("word-gru", out)
    process = forks.start(stuck_command, words, stuck)
    wait_for(stuck)
    process.signal(number)
    assert process.wait(0.3) is None
    process.signal(number)
    assert process.wait(PATIENCE / 2) == -number
    assert steps(out) == [0]
    resume_run(forks, words, out)
    assert_same_bits(trace(out), trace(prepared.uninterrupted("word-gru")))
