"""How many threads a run uses, and that barriers at which threads sleep let all of them go on."""

import json
import os
import subprocess
import sys

import pytest
import torch

from refrain import recipe, runs
from refrain.errors import UserError
from refrain.runs import threads
from refrain.runs import trial as trials
from refrain.runs.threads import free_threads, threads_for
from refrain.runs.trial import trial
from refrain.training import PlainProgress


class Log(PlainProgress):
    def __init__(self):
        super().__init__(quiet=True)
        self.lines = []

    def log(self, line):
        self.lines.append(line)


@pytest.fixture
def four_threads(monkeypatch):
    monkeypatch.delenv(threads.CHOSEN, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def machine(monkeypatch):
    """A machine with four cores, a quota and idle cores."""

    def given(quota, idle):
        monkeypatch.setattr(threads, "usable_cores", lambda: 4)
        monkeypatch.setattr(threads, "quota_cores", lambda: quota)
        monkeypatch.setattr(threads, "idle_cores", lambda: idle)

    return given


@pytest.mark.parametrize(
    ("quota", "idle", "wanted"),
    [
        (None, 4.0, 4),
        (None, 2.9, 3),
        (None, 2.4, 2),
        (None, 0.1, 1),
        (None, None, 4),
        (2.5, 4.0, 2),
        (0.5, 4.0, 1),
        (3.0, 1.2, 1),
        (None, 9.0, 4),
    ],
)
def test_threads_are_as_many_as_cores_are_free(machine, quota, idle, wanted):
    machine(quota, idle)
    assert free_threads(4) == (wanted, {"usable": 4, "quota": quota, "idle": idle})


def test_fixed_threads_do_not_look_at_other_programs(machine):
    machine(2.0, 0.0)
    assert free_threads(4, fixed=True) == (2, {"usable": 4, "quota": 2.0, "idle": None})


def inside(*settings, before=None):
    """The threads inside, what the manifest gets, and what is logged."""
    log = Log()
    with threads_for(recipe("zaremba-small", *settings), log.log, before=before) as found:
        count = torch.get_num_threads()
    return count, found, log.lines


def test_a_run_says_why_it_uses_fewer_threads(machine, four_threads):
    machine(None, 1.3)
    assert inside() == (
        1,
        {"free_cores": {"usable": 4, "quota": None, "idle": 1.3}},
        ["threads 1 of 4: 1.3 of 4 cores were idle at the start; training.threads=4 uses all"],
    )
    machine(2.5, 4.0)
    assert inside()[2] == [
        "threads 2 of 4: the control group allows the time of 2.5 cores; training.threads=4 uses all"
    ]
    machine(None, 4.0)
    assert inside()[::2] == (4, [])
    assert torch.get_num_threads() == 4


def test_a_setting_decides(machine, four_threads):
    machine(None, 1.0)
    assert inside("training.threads=3") == (3, {}, [])
    assert inside("training.threads=5")[2] == [
        "threads 5: more than the 4 cores here, so that threads wait for each other"
    ]
    with pytest.raises(UserError, match=r"training\.threads: 1,000,000 are too many for 4 cores; use at most 64"):
        inside("training.threads=1000000")
    assert inside("training.deterministic=true")[0] == 4


def test_a_resumed_run_keeps_its_threads(machine, four_threads):
    machine(None, 1.0)
    assert inside(before={"threads": 2}) == (2, {}, [])
    # this machine has fewer
    assert inside(before={"threads": 8}) == (4, {}, [])
    assert inside("training.threads=3", before={"threads": 2}) == (3, {}, [])


def test_one_thread_and_threads_that_the_user_has_chosen_are_not_measured(monkeypatch, four_threads):
    monkeypatch.setattr(threads, "idle_cores", lambda: pytest.fail("measured"))
    monkeypatch.setenv(threads.CHOSEN, "4")
    assert inside() == (4, {}, [])
    monkeypatch.delenv(threads.CHOSEN)
    torch.set_num_threads(1)
    assert inside() == (1, {}, [])


def test_the_manifest_and_the_opening_lines_name_the_threads(
    machine, four_threads, tmp_path, tiny_corpus, tiny_settings
):
    machine(None, 2.0)
    log = Log()
    settings = (*tiny_settings, "training.epochs=1", "training.backend=torch")
    runs.train(recipe("zaremba-small", *settings, data=str(tiny_corpus)), tmp_path / "run", progress=log)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["threads"] == 2 and manifest["free_cores"]["idle"] == 2.0
    assert any(line.startswith("refrain ") and line.endswith("2 threads") for line in log.lines)
    runs.resume(tmp_path / "run", settings=["training.epochs=2", "training.threads=3"], progress=log)
    assert any(line.startswith("refrain ") and line.endswith("3 threads") for line in log.lines)
    assert torch.get_num_threads() == 4


def test_a_trial_uses_the_threads_of_the_settings(machine, four_threads, tiny_corpus, tiny_settings):
    machine(None, 4.0)
    settings = (*tiny_settings, "training.epochs=1", "training.threads=3")
    found = trial(recipe("zaremba-small", *settings, data=str(tiny_corpus)), Log().log)
    assert found["threads"] == 3 and found["seconds"] >= 0 and torch.get_num_threads() == 4
    settings = (*settings, "training.learning_rate=1e38", "training.max_norm=none")
    with pytest.raises(UserError, match=r"choose a lower training\.learning_rate or training\.max_norm"):
        trial(recipe("zaremba-small", *settings, data=str(tiny_corpus)), Log().log)


@pytest.mark.parametrize(("seconds", "windows"), [(0.0, 2), (1e9, 12)])
def test_the_windows_of_a_trial_and_its_time(monkeypatch, tiny_corpus, tiny_settings, seconds, windows):
    durations, clock = [100.0, *(float(index) for index in range(1, 12))], [0.0]

    def train_round(model, given, state, optimizer, **options):
        clock[0] += durations.pop(0)
        return state

    monkeypatch.setattr(trials, "SECONDS", seconds)
    monkeypatch.setattr(trials, "train_round", train_round)
    monkeypatch.setattr(trials.time, "monotonic", lambda: clock[0])
    settings = (*tiny_settings, "training.epochs=3", "training.batch_size=2", "training.window_steps=2")
    found = trial(recipe("zaremba-small", *settings, data=str(tiny_corpus)), Log().log)
    assert len(durations) == 12 - windows
    # the first window, which took 100 seconds, does not count
    assert found["seconds"] == found["windows"] * 3 * (1.0 if windows == 2 else 6.0)


def environment_after(**given):
    kept = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    words = [sys.executable, "-c", "import os, refrain; print(os.environ.get('GOMP_SPINCOUNT'))"]
    done = subprocess.run(words, env={**kept, **given}, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def test_threads_wait_briefly_unless_the_user_has_chosen():
    assert environment_after() == "10000"
    assert environment_after(GOMP_SPINCOUNT="7") == "7"
    assert environment_after(OMP_WAIT_POLICY="active") == "None"


BARRIERS = """
import torch
from refrain.nn import GRU, LSTM, MultiplicativeLSTM
from refrain.nn.kernels.backend import Backend

def gradients(cell, threads):
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    layer = cell(20, 70)
    layer.backend = Backend(native=True)
    layer(torch.randn(12, 5, 20), layer.initial_state(5))[0].square().sum().backward()
    return [parameter.grad for parameter in layer.parameters()]

for cell in (LSTM, GRU, MultiplicativeLSTM):
    wanted = gradients(cell, 1)
    for _ in range(5):
        for found, one in zip(gradients(cell, 5), wanted, strict=True):
            torch.testing.assert_close(found, one)
"""


@pytest.mark.compiler
def test_more_threads_than_cores_pass_the_barriers():
    done = subprocess.run([sys.executable, "-c", BARRIERS], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
