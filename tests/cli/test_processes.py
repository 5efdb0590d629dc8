"""Several processes train one model from the command line: what they say, and what is refused, by rank 0 alone."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from processes import Command, ended_ranks, rank_environment

from refrain.cli import processes
from refrain.cli.processes import run_processes, without_option
from refrain.errors import UserError
from refrain.parallel.environment import are_started, is_first, is_restarted

TINY = (
    "zaremba-small",
    "model.embedding_size=8",
    "model.hidden_sizes=[8]",
    "training.batch_size=4",
    "training.window_steps=4",
    "training.sample_tokens=3",
)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    for split, lines in (("train", 40), ("valid", 12), ("test", 6)):
        (folder / f"{split}.txt").write_text("a b c d\nb c <unk>\nd a b\n" * lines)
    return folder


def train(text, out, *more):
    return ["-m", "refrain", "train", *TINY, "--data", text, "--out", out, *more]


def wait_for_checkpoint(run):
    deadline = time.monotonic() + 60
    while not list((run / "checkpoints").glob("step-*")):
        assert time.monotonic() < deadline, "no checkpoint was written"
        time.sleep(0.1)


def test_the_option_trains_in_processes_and_reports_once(text, tmp_path):
    words = [
        sys.executable,
        *map(str, train(text, tmp_path / "run", "training.epochs=1", "--json", "--processes", "2")),
    ]
    found = subprocess.run(words, env=rank_environment(), capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stderr
    summary = json.loads(found.stdout)
    assert summary["epochs"] == 1 and summary["run"] == str(tmp_path / "run")
    assert found.stderr.count("run    ") == 1 and "cpu  2 processes of 1 thread" in found.stderr
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["ranks"] == 2


def test_one_signal_stops_every_process(text, tmp_path):
    words = [sys.executable, *map(str, train(text, tmp_path / "run", "training.epochs=10000", "--processes=2"))]
    with Command(words, env=rank_environment(), stderr=subprocess.PIPE, text=True) as process:
        wait_for_checkpoint(tmp_path / "run")
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert said.count("continue with: refrain train --resume --out") == 1


def test_ranks_that_outlive_their_parent_end(text, tmp_path):
    words = [sys.executable, *map(str, train(text, tmp_path / "run", "training.epochs=10000", "--processes=2"))]
    with Command(words, env=rank_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_for_checkpoint(tmp_path / "run")
        process.kill()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = subprocess.run(["pgrep", "-f", str(tmp_path / "run")], capture_output=True, text=True, timeout=60)
        if not found.stdout.strip():
            return
        time.sleep(0.2)
    pytest.fail(f"still running: {found.stdout}")


def test_more_ranks_than_columns(text, tmp_path):
    found = ended_ranks(3, train(text, tmp_path / "run", "training.batch_size=2"))
    assert [status for status, _, _ in found] == [2, 2, 2]
    assert "3 processes are more than training.batch_size (" in found[0][2]
    assert not found[1][2] and not found[2][2] and not (tmp_path / "run").exists()


def test_the_option_is_checked_before_a_process_starts(text, tmp_path):
    words = [sys.executable, *map(str, train(text, tmp_path / "run", "--processes", "5"))]
    found = subprocess.run(words, env=rank_environment(), capture_output=True, text=True, timeout=60)
    assert found.returncode == 2 and "--processes 5 is more than training.batch_size (" in found.stderr
    assert found.stderr.count("\n") == 1 and not (tmp_path / "run").exists()


def test_ranks_with_other_settings(text, tmp_path):
    found = ended_ranks(2, train(text, tmp_path / "run"), own=[[], ["training.epochs=3"]])
    assert [status for status, _, _ in found] == [2, 2]
    assert (
        "rank 1: the settings differ from rank 0 (training.epochs = 3 instead of training.epochs = 13)" in found[0][2]
    )
    assert not found[1][2] and not (tmp_path / "run").exists()


def test_ranks_with_other_text(text, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for split in ("train", "valid", "test"):
        (other / f"{split}.txt").write_text((text / f"{split}.txt").read_text().replace("d a b", "d b b"))
    words = ["-m", "refrain", "train", *TINY, "--out", tmp_path / "run", "--data"]
    found = ended_ranks(2, words, own=[[text], [other]])
    assert [status for status, _, _ in found] == [3, 3]
    assert "rank 1: the text of train differs from rank 0" in found[0][2] and not found[1][2]


def test_a_run_folder_that_is_not_shared(text, tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    found = ended_ranks(2, train(text, "run"), folders=folders)
    assert [status for status, _, _ in found] == [4, 4]
    assert "rank 1 does not see what rank 0 has written there" in found[0][2] and not found[1][2]


def test_a_port_in_use(text, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        given = rank_environment(0, 2, taken.getsockname()[1])
        words = [sys.executable, *map(str, train(text, tmp_path / "run"))]
        found = subprocess.run(words, env=given, capture_output=True, text=True, timeout=120)
    assert found.returncode == 2
    assert f"port {given['MASTER_PORT']}: is in use" in found.stderr


def test_several_models_are_no_work_for_ranks(text, tmp_path):
    found = ended_ranks(2, train(text, tmp_path / "run", "--seeds", "2"))
    assert [status for status, _, _ in found] == [2, 2]
    assert "--seeds and --folds train several models, but these processes train one" in found[0][2]


class Unheeding(subprocess.Popen):
    """A rank that is a long way from heeding signals; `at_start` is called before it has started."""

    at_start = staticmethod(lambda number: None)
    started = 0

    def __init__(self, command, **more):
        type(self).started += 1
        self.at_start(self.started)
        super().__init__([sys.executable, "-S", "-c", "import time; time.sleep(100)"], start_new_session=True)


def stop(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("before", [1, 2])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_before_every_rank_has_started_stops_those_that_have(before, number, status, monkeypatch):
    class Rank(Unheeding):
        started = 0
        at_start = staticmethod(lambda index: stop(number) if index == before else None)

    monkeypatch.setattr(processes.subprocess, "Popen", Rank)
    begun = time.monotonic()
    assert run_processes(2, ["train"]) == status
    assert Rank.started == before and time.monotonic() - begun < 60


def test_a_signal_that_ends_a_rank_before_it_heeds_signals_ends_the_others(monkeypatch):
    class Rank(Unheeding):
        started = 0

    monkeypatch.setattr(processes.subprocess, "Popen", Rank)
    timer = threading.Timer(0.3, stop)
    timer.start()
    begun = time.monotonic()
    assert run_processes(2, ["train"]) == 143
    timer.join()
    assert time.monotonic() - begun < processes.PATIENCE / 2


@pytest.mark.parametrize("count", [0, -1])
def test_numbers_of_processes_are_positive(count):
    with pytest.raises(UserError, match=f"--processes must be at least 1 .got {count}"):
        run_processes(count, ["train"])


def test_a_rank_starts_no_others(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UserError, match="torchrun has started several processes already"):
        run_processes(2, ["train"])


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["train", "--processes", "2", "x"], ["train", "x"]),
        (["train", "--processes=2", "x"], ["train", "x"]),
        (["train", "x", "--processes", "2"], ["train", "x"]),
    ],
)
def test_the_option_is_not_passed_on(words, left):
    assert without_option(words) == left


def test_a_process_that_is_left_alone_is_restarted_too(monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "TORCHELASTIC_RESTART_COUNT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert is_restarted() and is_first() and not are_started()
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert not is_restarted()
