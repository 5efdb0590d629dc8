"""Promise 12: the same command gives the same bits in every process, and runs of earlier versions are read.

The bits may depend on the number of threads, so they are compared between processes with as many.
"""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest
import torch
from processes import PATIENCE
from short_runs import assert_same_bits, trace
from tiny_runs import RECIPES, command

import refrain

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "run_0.1"
TOLERANCE = 1e-6
CALLS = """
import json, sys
from refrain.cli.app import main
for words in json.loads(sys.argv[1]):
    if main(words) != 0:
        sys.exit(1)
"""
SURROUNDINGS = {
    "again": {},
    "locale": {"LC_ALL": "C", "PYTHONUTF8": "0"},
    "time zone": {"TZ": "Asia/Kathmandu"},
    "hash seed": {"PYTHONHASHSEED": "12345"},
    "folder": {},
}
EVERYTHING = {name: value for values in SURROUNDINGS.values() for name, value in values.items()}


def train_elsewhere(prepared, folder, environment, cwd, names=RECIPES):
    """Train recipes in a new process, and return the folders of the runs."""
    out = {name: folder / name for name in names}
    words = [prepared.words(name, out[name]) for name in names]
    call = [sys.executable, "-c", CALLS, json.dumps(words)]
    done = subprocess.run(call, cwd=cwd, env=environment, capture_output=True, text=True, timeout=5 * PATIENCE)
    assert done.returncode == 0, done.stderr
    return out


def test_runs_in_new_processes_have_the_same_bits(trials, report, prepared, own_environment, tmp_path):
    """At first everything around the process is changed at once, then each alone."""
    environment = {**own_environment, "OMP_NUM_THREADS": "1"}
    (tmp_path / "elsewhere").mkdir()
    changes = [("everything", EVERYTHING), *SURROUNDINGS.items()][: trials(1, 1 + len(SURROUNDINGS))]
    for title, values in changes:
        cwd = tmp_path / "elsewhere" if title in ("everything", "folder") else pathlib.Path.cwd()
        runs = train_elsewhere(prepared, tmp_path / title, {**environment, **values}, cwd)
        for name, out in runs.items():
            assert_same_bits(trace(out), trace(prepared.uninterrupted(name)))
    report("same bits", f"{len(RECIPES)} recipes in {len(changes)} surroundings: the same bits")


def test_two_runs_with_two_threads_have_the_same_bits(trials, report, prepared, own_environment, tmp_path):
    if trials(0, 1) == 0:
        pytest.skip("needs some seconds; with --reliability")
    environment = {**own_environment, "OMP_NUM_THREADS": "2"}
    one, other = (train_elsewhere(prepared, tmp_path / part, environment, tmp_path) for part in ("one", "other"))
    for name in RECIPES:
        assert_same_bits(trace(one[name]), trace(other[name]))
    report("same bits", f"{len(RECIPES)} recipes with two threads, twice: the same bits")


def test_a_run_of_version_0_1_has_the_logits_that_it_had(report):
    """The log-probabilities were computed by version 0.1."""
    golden = json.loads((GOLDEN / "logits.json").read_text())
    lm = refrain.load(GOLDEN / "run")
    state, largest = lm.initial_state(2), 0.0
    for ids, wanted in zip(golden["ids"], golden["log_probabilities"], strict=True):
        found, state = lm.step(torch.tensor(ids), state)
        largest = max(largest, (found - torch.tensor(wanted)).abs().max().item())
    assert largest <= TOLERANCE
    report("same bits", f"a run of version 0.1: log-probabilities differ by at most {largest:.1g}")


def test_a_run_of_version_0_1_continues(tmp_path, monkeypatch):
    """The figures were recorded with the masks that weight drop has drawn since, which version 0.1 did not draw."""
    shutil.copytree(GOLDEN, tmp_path / "old", symlinks=True)
    monkeypatch.chdir(tmp_path / "old")
    summary = refrain.resume("run", progress=refrain.training.PlainProgress(quiet=True))
    expected = json.loads((GOLDEN / "expected.json").read_text())["resumed"]
    for split in ("valid", "test"):
        assert summary[split]["nats_per_token"] == pytest.approx(expected[split]["nats_per_token"], rel=1e-5)


@pytest.mark.parametrize("name", ["config.json", "checkpoints/step-000000019/manifest.json"])
def test_a_run_of_a_later_version_is_refused_in_one_line(name, tmp_path, forks):
    run = tmp_path / "run"
    shutil.copytree(GOLDEN / "run", run, symlinks=True)
    for other in ("best", "checkpoints/step-000000010"):
        path = run / other
        (shutil.rmtree if path.is_dir() and not path.is_symlink() else pathlib.Path.unlink)(path)
    document = json.loads((run / name).read_text())
    (run / name).write_text(json.dumps({**document, "format": 99}))
    words = ["train", "--resume", "--out", run] if name == "config.json" else ["generate", run, "--tokens", "3"]
    process, status = forks.status(command, words)
    assert status == 4
    assert "format 99, but this version reads format" in process.complaint()
    assert "update refrain-lm" in process.complaint()
