"""The command line as a process of its own: signals, pipes, limits, and what is imported when."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from processes import PATIENCE, Command

RUN = "from refrain.cli import run; run()"


@pytest.fixture
def start(own_environment):
    """Starts a command as a process of its own."""

    def popen(*words, **options):
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        settings = {"env": own_environment, **pipes, **options}
        command = [sys.executable, "-c", RUN, *[str(word) for word in words]]
        return Command(command, text=True, **settings)

    return popen


def finished(process):
    out, err = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in err
    assert "Exception ignored" not in err
    return process.returncode, out, err


def steps(run):
    return sorted(int(path.name.removeprefix("step-")) for path in (run / "checkpoints").glob("step-*"))


def wait_for_a_step_after(run, before, process):
    end = time.monotonic() + PATIENCE
    while not steps(run) or steps(run)[-1] <= before:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def test_signals_stop_a_run_with_a_checkpoint_and_it_continues(start, tiny_settings, tiny_corpus, tmp_path):
    run = tmp_path / "run"
    endless = ["training.epochs=1000000", "training.sample_tokens=0"]
    words = ["train", "zaremba-small", *tiny_settings, *endless, "--data", tiny_corpus, "--out", run]
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        before = steps(run)[-1] if run.exists() else 0
        with start(*words) as process:
            wait_for_a_step_after(run, before, process)
            process.send_signal(number)
            code, out, err = finished(process)
        assert (code, out) == (status, "")
        (line,) = [line for line in err.splitlines() if line.startswith("refrain: ")]
        assert line.startswith("refrain: stopped in epoch ")
        assert line.endswith(f"continue with: refrain train --resume --out {run}")
        assert steps(run)[-1] > before
        # the second time round the run is continued by what the first one said
        words = ["train", "--resume", "--out", run]
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    epochs = [record["epoch"] for record in records if record["event"] == "valid"]
    assert epochs == list(range(1, len(epochs) + 1))
    assert [path.name for path in (run / "checkpoints").iterdir() if path.name.startswith(".")] == []


def test_a_reader_that_leaves(start, tiny_run):
    with start("generate", tiny_run, "--tokens", "100000") as process:
        assert process.stdout.read(10)
        process.stdout.close()
        assert process.wait(PATIENCE) == 0
        # a busy machine may take long to load the model, which is reported
        assert [line for line in process.stderr.read().splitlines() if not line.endswith(" so far")] == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_an_output_that_is_full(start):
    with open("/dev/full", "w") as full, start("recipes", stdout=full) as process:
        status, _, err = finished(process)
    said = "refrain: standard output: No space left on device; free some space or choose another folder\n"
    assert (status, err) == (4, said)


def test_a_file_size_limit(start, tiny_settings, tiny_corpus, tmp_path, tiny_run):
    resource = pytest.importorskip("resource")
    largest = max(path.stat().st_size for path in (tiny_run / "best").iterdir())
    run = tmp_path / "run"

    def limit():
        # the weights fit no more, the small files do
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest - 1, resource.RLIM_INFINITY))

    words = ["train", "zaremba-small", *tiny_settings, "--data", tiny_corpus, "--out", run]
    with start(*words, preexec_fn=limit) as process:
        status, out, err = finished(process)
    assert (status, out) == (4, "")
    (line,) = [line for line in err.splitlines() if line.startswith("refrain: ")]
    assert "File too large" in line
    assert list((run / "checkpoints").iterdir()) == []


def test_score_reads_standard_input(start, tiny_run):
    with start("score", tiny_run, "--json", stdin=subprocess.PIPE) as process:
        out, _ = process.communicate("ant bee\ncat\n", timeout=PATIENCE)
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["ant bee", "cat"]


def test_mistakes_leave_with_their_status(start, tmp_path):
    for status, words in (
        (0, ["--version"]),
        (2, ["recipes", "nothing"]),
        (3, ["data", "check", tmp_path / "gone"]),
    ):
        with start(*words) as process:
            code, out, err = finished(process)
        assert code == status
        assert (out == "") == (status != 0)
        assert err.startswith("refrain: ") == (status != 0)


IMPORTS = """
import sys
import refrain
from refrain.cli.app import main
for words in (["--help"], *[[name, "--help"] for name in sys.argv[1:]], ["recipes", "quickstart"]):
    assert main(words) == 0, words
    assert "torch" not in sys.modules, words
    assert "numpy" not in sys.modules, words
print("light")
"""


def test_torch_is_not_imported_before_it_is_needed(own_environment):
    from refrain.cli.app import COMMANDS

    command = [sys.executable, "-c", IMPORTS, *COMMANDS]
    found = subprocess.run(command, env=own_environment, capture_output=True, text=True, timeout=PATIENCE)
    assert (found.returncode, found.stdout[-6:], found.stderr) == (0, "light\n", "")


def test_without_a_compiler_a_run_says_so_once_and_warns_of_nothing(
    start, own_environment, tiny_settings, tiny_corpus, tmp_path
):
    (tmp_path / "bin").mkdir()
    hidden = ("CXX", "REFRAIN_NATIVE")
    environment = {name: value for name, value in own_environment.items() if name not in hidden}
    environment |= {"PATH": str(tmp_path / "bin"), "PYTHONWARNINGS": "error::UserWarning"}
    run = tmp_path / "run"
    words = ["train", "zaremba-small", *tiny_settings, "training.backend=native", "--data", tiny_corpus, "--out", run]
    for command in (words, ["evaluate", run], ["generate", run, "--tokens", "5"]):
        with start(*command, env=environment) as process:
            status, _, err = finished(process)
        assert status == 0, err
        said = [line for line in err.splitlines() if "C++ compiler" in line]
        assert len(said) == (command is words), said
        assert not any("warning" in line.lower() for line in err.splitlines())
