"""Commands on a system that has none of the modules of Unix, such as Windows: they end as on the others."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from blocked_modules import VARIABLE

NAMES = ("fcntl", "resource", "termios", "pwd", "grp")
BLOCKED = pathlib.Path(__file__).parents[1] / "blocked"
COMMAND = "import sys; import refrain.cli; refrain.cli.run(sys.argv[1:])"


@pytest.fixture
def elsewhere(own_environment):
    """Runs Python code in a process where refrain cannot import these modules."""
    folders = [str(BLOCKED), str(pathlib.Path(__file__).parents[2] / "src")]
    environment = {**own_environment, VARIABLE: ",".join(NAMES), "PYTHONPATH": os.pathsep.join(folders)}

    def run(code, *words):
        command = [sys.executable, "-c", code, *map(str, words)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=120)

    return run


def test_the_modules_are_missing_in_refrain_and_nowhere_else(elsewhere):
    code = "import fcntl; exec('import resource', {'__name__': 'refrain.x'})"
    done = elsewhere(code)
    assert done.returncode == 1 and "ModuleNotFoundError: No module named 'resource'" in done.stderr


def test_a_run_is_trained_resumed_and_evaluated(elsewhere, tiny_settings, tiny_corpus, tmp_path):
    run = tmp_path / "run"
    words = ["train", "zaremba-small", *tiny_settings, "--data", tiny_corpus, "--out", run, "--json"]
    done = elsewhere(COMMAND, *words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["peak_memory_bytes"] is None
    for words in (["train", "--resume", "--out", run], ["evaluate", run / "best"]):
        done = elsewhere(COMMAND, *words)
        assert done.returncode == 0, done.stderr
