"""Promise: a rank that dies, hangs, fails or lags is named; the others leave within 30 s; the run can be resumed."""

import json
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest
from processes import command_ranks, rank_environment

from refrain.parallel import watch

SCRIPT = pathlib.Path(__file__).with_name("mishaps.py")
SAID = {
    "kill": "has given no",
    "stop": "has given no",
    "raise": "ArithmeticError: the third column is wrong",
    "lag": "lags: its window has taken",
    "terminate": "stopped in epoch",
}
DEADLINE = 30.0


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    for split, lines in (("train", 46), ("valid", 12), ("test", 6)):
        (folder / f"{split}.txt").write_text("a b c d\nb c <unk>\nd a b\n" * lines)
    return folder


@pytest.fixture(scope="module")
def expected(text):
    """The figure of a run to which nothing happens."""
    return alone(text, text / "expected")


def alone(text, out):
    """Train or resume a run in one process: its test perplexity."""
    words = [sys.executable, SCRIPT, text, out, "none", "0", "0"]
    subprocess.run(words, check=True, env=rank_environment(), capture_output=True, timeout=300)
    return json.loads((out / "summary.json").read_text())["test"]["perplexity"]


def leave_after(processes, out):
    """Seconds after the mishap until each of the processes has ended; those that do not end are killed."""
    deadline = time.monotonic() + 120
    ended = {}
    while len(ended) < len(processes) and time.monotonic() < deadline:
        for process in processes:
            if process not in ended and process.poll() is not None:
                ended[process] = time.time()
        time.sleep(0.05)
    when = float(pathlib.Path(f"{out}.time").read_text())
    return [ended.get(process, float("inf")) - when for process in processes]


@pytest.mark.parametrize("mishap", SAID)
def test_the_others_leave_and_the_run_goes_on(mishap, text, expected, tmp_path, trials, report, request):
    count = trials(1, 20)
    draw = random.Random(mishap)
    worst = 0.0
    for trial in range(count):
        out = tmp_path / str(trial)
        size = draw.choice([2, 3]) if count > 1 else 2
        lost, step = draw.randrange(size), draw.randrange(2, 40)
        # real limits in the full suite
        limit = 1 if request.config.getoption("reliability") else 4
        with command_ranks(size, [SCRIPT, text, out, mishap, lost, step, limit]) as ranks:
            others = [process for rank, process in enumerate(ranks) if rank != lost]
            worst = max(worst, *leave_after(others, out))
            if mishap in ("stop", "lag"):
                ranks[lost].kill()
            text_said = "".join(process.communicate(timeout=60)[1] for process in ranks)
            statuses = [process.returncode for process in ranks]
        assert worst < DEADLINE
        assert all(statuses), "a rank left with status 0"
        assert SAID[mishap] in text_said, text_said
        if mishap != "terminate":
            assert f"rank {lost} (" in text_said or (mishap == "raise" and not lost)
        assert alone(text, out) == pytest.approx(expected, rel=1e-4)
    report(f"{mishap} a rank", f"{count} of {count} runs resumed; the others left within {worst:.1f} s")


def test_ranks_that_are_all_stopped_for_a_while_go_on(text, expected, tmp_path):
    out, limit = tmp_path / "run", 4
    noted = pathlib.Path(f"{out}.time")
    with command_ranks(2, [SCRIPT, text, out, "suspend", 0, 10, limit]) as ranks:
        deadline = time.monotonic() + 100
        while not noted.exists():
            assert time.monotonic() < deadline and all(process.poll() is None for process in ranks)
            time.sleep(0.01)
        for number, seconds in ((signal.SIGSTOP, 2 * max(watch.SILENT, watch.LAG) / limit), (signal.SIGCONT, 0)):
            for process in ranks:
                process.send_signal(number)
            time.sleep(seconds)
        said = [process.communicate(timeout=100)[1] for process in ranks]
        assert [process.returncode for process in ranks] == [0, 0], said
    assert json.loads((out / "summary.json").read_text())["test"]["perplexity"] == pytest.approx(expected, rel=1e-4)
