"""`refrain runs`: the state of each run is what is true of it, and nothing is changed."""

import json
import os
import shutil
import time

import pytest
from blocked_modules import lacks
from test_start import WITHOUT_TORCH, in_process

from refrain.runs import watching
from refrain.runs.figure_names import comparable, deciding, rank
from refrain.runs.listing import RECENT_SECONDS, entry_of
from refrain.storage.locks import is_locked, locked
from refrain.storage.run_folder import RunFolder

LAST_YEAR = time.time() - 365 * 24 * 3600


def age(run):
    for path in run.rglob("*"):
        os.utime(path, (LAST_YEAR, LAST_YEAR), follow_symlinks=False)


@pytest.fixture
def several(tiny_run, tmp_path):
    """A folder of copies of one run."""

    def copies(*names):
        for name in names:
            shutil.copytree(tiny_run, tmp_path / "runs" / name, symlinks=True)
        return tmp_path / "runs"

    return copies


def states(refrain, folder, *more):
    return {run["run"].removeprefix(f"{folder}/"): run for run in refrain("runs", folder, "--json", *more).json["runs"]}


def test_each_state_is_told_from_the_files(refrain, several, tree):
    folder = several("finished", "a/stopped", "a/damaged", "b/c/no-settings", "b/c/no-checkpoint")
    (folder / "a" / "stopped" / "summary.json").unlink()
    weights = folder / "a" / "damaged" / "best" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    (folder / "b" / "c" / "no-settings" / "config.json").write_text("{")
    shutil.rmtree(folder / "b" / "c" / "no-checkpoint" / "checkpoints")
    (folder / "b" / "c" / "no-checkpoint" / "checkpoints").mkdir()
    for name in ("best", "summary.json"):
        (folder / "b" / "c" / "no-checkpoint" / name).unlink()
    before = tree(folder)
    found = states(refrain, folder)
    assert {name: run["state"] for name, run in found.items()} == {
        "a/damaged": "damaged",
        "a/stopped": "stopped",
        "b/c/no-checkpoint": "stopped",
        "b/c/no-settings": "damaged",
        "finished": "finished",
    }
    assert list(found) == sorted(found)
    assert "model.safetensors: damaged (it has" in found["a/damaged"]["note"]
    assert found["b/c/no-settings"]["note"].startswith("config.json: is not JSON")
    assert found["b/c/no-checkpoint"]["note"] == "has no checkpoint yet"
    assert tree(folder) == before


def test_the_figures_are_those_of_the_summary_or_else_of_the_best_validation(refrain, several):
    folder = several("finished", "stopped")
    summary = json.loads((folder / "finished" / "summary.json").read_text())
    (folder / "stopped" / "summary.json").unlink()
    found = states(refrain, folder)
    finished, stopped = found["finished"], found["stopped"]
    assert finished["parameters"] == summary["parameters"]
    for split in ("valid", "test"):
        assert finished[split]["perplexity"] == summary[split]["perplexity"]
    lines = [json.loads(line) for line in (folder / "stopped" / "metrics.jsonl").read_text().splitlines()]
    best = min(line["perplexity"] for line in lines if line["event"] == "valid")
    assert (stopped["valid"]["perplexity"], stopped["test"]) == (best, {})
    assert finished["bytes"] == sum(
        path.stat().st_size for path in (folder / "finished").rglob("*") if path.is_file() and not path.is_symlink()
        and "best" not in path.relative_to(folder / "finished").parts
    )  # fmt: skip


@pytest.mark.skipif(lacks("fcntl"), reason="no module that locks files")
def test_a_run_is_running_as_long_as_its_lock_is_held(refrain, several):
    run = several("one") / "one"
    (run / "summary.json").unlink()
    with RunFolder(run).locked():
        found = states(refrain, run.parent)["one"]
        assert found["state"] == "running" and found["note"].startswith(f"process {os.getpid()} on ")
    # the words in the lock remain
    assert (run / ".lock").read_text().startswith("process ")
    assert states(refrain, run.parent)["one"]["state"] == "stopped"


@pytest.mark.skipif(lacks("fcntl"), reason="no module that locks files")
def test_who_looks_at_a_lock_keeps_nobody_out(tmp_path):
    (tmp_path / ".lock").touch()
    for _ in range(3):
        assert not is_locked(tmp_path)
        with locked(tmp_path):
            assert is_locked(tmp_path)


def test_a_run_on_another_machine_is_running_while_it_writes(several):
    run = several("one") / "one"
    (run / "summary.json").unlink()
    (run / ".lock").write_text("process 1 on elsewhere.example\n")
    os.utime(run / "metrics.jsonl")
    entry = entry_of(run)
    assert entry.state == "running" and entry.note.startswith("process 1 on elsewhere.example, as its files of ")
    age(run)
    os.utime(run / "metrics.jsonl", (time.time() - RECENT_SECONDS - 5,) * 2)
    assert entry_of(run).state == "stopped"


def test_the_order_is_as_asked(refrain, several):
    folder = several("a", "b", "c")
    for name, perplexity in (("a", 20.0), ("b", 10.0), ("c", 15.0)):
        summary = json.loads((folder / name / "summary.json").read_text())
        summary["valid"]["perplexity"] = perplexity
        (folder / name / "summary.json").write_text(json.dumps(summary))
    age(folder / "c")
    assert list(states(refrain, folder, "--sort", "figure")) == ["b", "c", "a"]
    assert list(states(refrain, folder, "--sort", "changed"))[-1] == "c"
    (folder / "b" / "samples" / "more.txt").write_bytes(bytes(1000))
    assert next(iter(states(refrain, folder, "--sort", "size"))) == "b"


def test_the_reason_of_an_early_end_is_shown(refrain, several):
    run = several("one") / "one"
    summary, config = (json.loads((run / name).read_text()) for name in ("summary.json", "config.json"))

    def shown(training, **more):
        config["experiment"]["training"] |= {"epochs": 20, "stop_window": None, "stop_accuracy": None, **training}
        (run / "config.json").write_text(json.dumps(config))
        (run / "summary.json").write_text(json.dumps({**summary, "epochs": 5, **more}))
        return refrain("runs", run.parent).out

    assert "5/20 (stop_window)  " in shown({"stop_window": 3}, stopped=True)
    assert "5/20 (stop_window or stop_accuracy)  " in shown({"stop_window": 3, "stop_accuracy": 0.9}, stopped=True)
    # a method of one's own
    assert "5/20 (a rule)  " in shown({}, stopped=True)
    assert "5/20 (--finish)  " in shown({"stop_window": 3}, plans=[{"reason": "finish"}])
    assert "5/20  " in shown({"stop_window": 3})


def test_the_deciding_figure():
    bits = {"nats_per_token": 0.6931471805599453, "bits_per_byte": 1.0, "perplexity": 2.0}
    assert deciding(bits) == "bits_per_byte" and deciding(bits | {"bits_per_byte": 0.5}) == "perplexity"
    # text of ASCII has a byte for each character
    assert deciding(bits, "character") == "perplexity" and rank(bits, "character") == 2.0
    assert deciding(bits, "byte") == "bits_per_byte"
    assert deciding({"accuracy": 0.5, "nats_per_token": 1.0}) == "accuracy" and deciding({}) is None
    assert rank({"accuracy": 0.9}) < rank({"accuracy": 0.8}) < rank({})
    both = {"accuracy": 0.5, "span_f1": 0.4}
    assert deciding(both) == "span_f1" and rank(both) == -0.4
    assert comparable(both, "accuracy") == comparable(both, None) == {"accuracy": 0.5}
    line = {"event": "valid", **both}
    assert watching._curve([line], "accuracy", None) == [0.5] and watching._curve([line], "f1", None) == [0.4]
    # a line of metrics, and a summary
    assert comparable(both, "f1") == both and comparable({"spans": {"f1": 0.4}}, "f1")["span_f1"] == 0.4


def test_a_table_for_people_without_torch(several):
    folder = several("x")
    # hostile settings are shown and nothing is followed
    (folder / "x" / "config.json").write_text('{"experiment": {"name": "a\\u001b[31m", "training": 3, "model": []}}')
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    done = in_process(WITHOUT_TORCH, [["runs", str(folder)], ["runs", str(folder / "x")]], folder=folder)
    for line in done.stdout.splitlines():
        status, errors, out = json.loads(line)
        assert (status, errors) == (0, "")
        head, row = out.splitlines()
        assert head.split()[:3] == ["run", "state", "recipe"] and "finished" in row and "\x1b" not in row


def test_nothing_there(refrain, mistake, tmp_path):
    assert refrain("runs", tmp_path).out == f"{tmp_path}: no runs, looking 4 levels deep\n"
    assert refrain("runs", tmp_path, "--json").json == {"folder": str(tmp_path), "runs": []}
    mistake(4, ["runs", tmp_path / "gone"], "gone: no such folder; give one with runs")
