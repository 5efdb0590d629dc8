"""`refrain watch`: how far runs are, from their files alone, as a table, JSON and a page."""

import json
import os
import shutil
import signal
import socket
import time

import pytest
from processes import command_process

from refrain.runs.listing import entry_of
from refrain.runs.watching import live_run
from refrain.storage.locks import locked


@pytest.fixture
def half(tiny_run, tmp_path):
    """A run that is in the middle of its second epoch, and has written the line of that window ten seconds ago."""
    run = tmp_path / "runs" / "half"
    shutil.copytree(tiny_run, run, symlinks=True)
    (run / "summary.json").unlink()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    first = next(line for line in lines if line["event"] == "train")
    # 10 of 40 windows, a quarter of a second for each; 30 more are 7.5 s, and 60 to the end of the run 15 s
    now = {**first, "epoch": 2, "window": 10, "windows": 40, "step": 50, "last_step": 110, "wall_seconds": 12.5}
    validations = [line for line in lines if line["event"] == "valid"][:1]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [first, *validations, now]))
    for path in (run, *run.rglob("*")):
        os.utime(path, (time.time() - 2, time.time() - 2), follow_symlinks=False)
    return run


def test_the_last_step_of_a_run_is_that_of_its_metrics(tiny_run):
    lines = [json.loads(line) for line in (tiny_run / "metrics.jsonl").read_text().splitlines()]
    trained = [line for line in lines if line["event"] == "train"]
    assert {line["last_step"] for line in trained} == {trained[-1]["step"]}
    assert trained[-1]["window"] == trained[-1]["windows"] == trained[-1]["last_step"] // 2


def test_the_time_left_follows_from_the_steps_that_are_left(half):
    with locked(half):
        entry = entry_of(half)
    run = live_run(entry, now=entry.changed + 2)
    assert (run.entry.state, run.epoch, run.epochs, run.share) == ("running", 2, 2, 0.25)
    assert (run.epoch_seconds_left, run.seconds_left) == (pytest.approx(5.5), pytest.approx(13.0))
    assert run.curve == [run.entry.valid["perplexity"]]


def test_a_run_that_does_not_train_has_no_time_left_and_is_left_out_after_an_hour(half, refrain):
    (run,) = refrain("watch", half.parent, "--json").json["runs"]
    assert (run["state"], run["seconds_left"], run["texts"]["run left"]) == ("stopped", None, "-")
    old = time.time() - 4000
    for path in (half, *half.rglob("*")):
        os.utime(path, (old, old), follow_symlinks=False)
    assert refrain("watch", half.parent, "--json").json["runs"] == []
    assert "no run trains" in refrain("watch", half.parent).out
    assert len(refrain("watch", half.parent, "--all", "--json").json["runs"]) == 1
    empty = half.parent / "empty"
    empty.mkdir()
    assert refrain("watch", empty, "--all").out == f"{empty}: no run; give a folder with runs, such as that of --out\n"


def test_the_table_has_what_people_look_for(half, refrain):
    with locked(half):
        head, row = refrain("watch", half.parent).out.splitlines()
    assert head.split("  ")[0] == "run" and "best valid" in head
    assert row.startswith("half") and "2/2  25%" in row and "zaremba-small" in row


def test_runs_of_earlier_versions_and_damaged_lines_are_shown_as_far_as_they_go(half, refrain):
    lines = [json.loads(line) for line in (half / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("last_step", None)
        line.pop("windows", None)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (half / "metrics.jsonl").write_text('[1]\n{"event":\n' + text + '{"event": "tra')
    with locked(half):
        (run,) = refrain("watch", half.parent, "--json").json["runs"]
    assert (run["state"], run["epoch"], run["share"], run["seconds_left"]) == ("running", 2, None, None)


@pytest.mark.parametrize(
    "odd",
    [
        {"wall_seconds": None},
        {"wall_seconds": "x"},
        {"window": None},
        {"epoch": float("inf")},
        {"dead_units": {"a": "b"}},
        {"compact_parameters": "few"},
        {"last_step": [1]},
    ],
    ids=str,
)
def test_an_odd_line_of_metrics_does_not_hide_the_runs(odd, half, refrain):
    lines = [json.loads(line) for line in (half / "metrics.jsonl").read_text().splitlines()]
    (half / "metrics.jsonl").write_text("".join(json.dumps({**line, **odd}) + "\n" for line in lines))
    with locked(half):
        assert refrain("watch", half.parent).out.splitlines()[1].startswith("half")


@pytest.mark.parametrize(
    ("words", "status", "part"),
    [
        (["nope"], 4, "nope: no such folder"),
        ([".", "--every", "0"], 2, "--every must be greater than 0 and at most 86,400 (got 0)"),
        ([".", "--every", "inf"], 2, "--every must be greater than 0 and at most 86,400 (got inf)"),
        ([".", "--json", "--port", "0"], 2, "--json and --port exclude each other"),
        ([".", "--port", "70000"], 2, "--port must be from 0 to 65535 (got 70000)"),
    ],
)
def test_mistakes(words, status, part, mistake, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "70000" in words:
        pytest.importorskip("uvicorn")
    mistake(status, ["watch", *words], part)


def test_a_port_in_use_is_named(mistake, tmp_path):
    pytest.importorskip("uvicorn")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        mistake(2, ["watch", tmp_path, "--port", port], f"--port {port}: Address already in use; choose another one")


def test_the_page_runs_nothing_of_another_place_and_is_for_this_machine_alone(half, tmp_path):
    pytest.importorskip("starlette")
    testclient = pytest.importorskip("starlette.testclient")
    from refrain.serve.run_page import run_page

    client = testclient.TestClient(run_page(half.parent, lambda: {"runs": []}, 3.0), base_url="http://127.0.0.1")
    page = client.get("/")
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert "http" not in page.text.replace("<!doctype html>", "")
    for name in ("watch.css", "watch.js", "runs.json"):
        assert client.get(f"/{name}").status_code == 200
    assert client.get("/runs.json").json() == {"runs": [], "seconds": 3.0}
    assert client.get("/../run_page.py").status_code == 404
    assert client.get("/", headers={"Host": "example.com"}).status_code == 400


@pytest.mark.timeout(60)
def test_the_page_is_served_until_a_signal_ends_the_command(half, tmp_path):
    pytest.importorskip("uvicorn")
    import urllib.request

    lines = tmp_path / "lines"
    with command_process(["watch", half.parent, "--port", "0"], stderr=lines) as process:
        while not (lines.exists() and lines.read_text().endswith("\n")):
            time.sleep(0.05)
        address = lines.read_text().split(" at ")[1].split()[0]
        with urllib.request.urlopen(f"{address}runs.json", timeout=30) as answer:
            assert [run["texts"]["run"] for run in json.load(answer)["runs"]] == ["half"]
        os.kill(process.pid, signal.SIGTERM)
        process.join(30)
        assert process.exitcode == 143
