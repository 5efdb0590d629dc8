"""Promise: a rank that dies, hangs, fails or lags is named; the others leave within 30 s; the run can be resumed."""

import json
import pathlib
import random
import subprocess
import sys
import time

import pytest
from processes import command_ranks, rank_environment

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
