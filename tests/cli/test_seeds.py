"""Several seeds: a run each, mean and deviation, and what is left to do after a stop."""

import contextlib
import json
import os
import shutil
import signal
import statistics
from pathlib import Path

import pytest
from blocked_modules import lacks
from short_runs import quiet, write_splits

from refrain import recipe, runs
from refrain.cli.train_report import report_training
from refrain.errors import CheckpointError, DivergedError, UserError
from refrain.runs import seeds as seeds_module
from refrain.runs.seeds_summary import summarise_seeds
from refrain.storage.run_folder import RunFolder
from refrain.training import Interrupted, PlainProgress

SMALL = (
    "model.embedding_size=8",
    "model.hidden_sizes=[8,8]",
    "training.batch_size=3",
    "training.window_steps=4",
    "training.epochs=1",
    "training.sample_tokens=0",
    "training.validation=exact",
)


@pytest.fixture
def corpus(tmp_path):
    return str(write_splits(tmp_path / "corpus", "a b c d\nb c <unk>\n", (12, 4, 4)))


def test_each_seed_is_the_run_that_it_would_be_alone(refrain, corpus, tmp_path):
    out = tmp_path / "runs"
    done = refrain("train", "zaremba-small", *SMALL, "--data", corpus, "--seeds", "3", "--out", str(out), "--json")
    summary = done.json
    assert summary["seeds"] == [1, 2, 3] and summary == json.loads((out / "summary.json").read_text())
    experiment = recipe("zaremba-small", *SMALL, "training.seed=2", data=corpus)
    alone = runs.train(experiment, tmp_path / "alone", progress=quiet())
    assert summary["runs"][1]["test"]["perplexity"] == alone["test"]["perplexity"]
    values = [run["test"]["perplexity"] for run in summary["runs"]]
    assert len(set(values)) == 3
    assert summary["test"]["perplexity"] == {"mean": statistics.fmean(values), "std": statistics.stdev(values)}
    assert "training.seed = 3" in (out / "seed-3" / "recipe.toml").read_text()


def test_a_stopped_series_continues_with_what_is_left(refrain, corpus, tmp_path, monkeypatch):
    experiment = recipe("zaremba-small", *SMALL, data=corpus)
    whole = runs.train_seeds(experiment, tmp_path / "whole", 3, progress=quiet)

    class Stop(PlainProgress):
        def __init__(self):
            super().__init__(quiet=True)

        def window(self, position, windows, epochs):
            if started[-1].endswith("seed-2") and position.step == 2:
                os.kill(os.getpid(), signal.SIGINT)

    started = []
    train = seeds_module.train
    monkeypatch.setattr(seeds_module, "train", lambda e, path, **k: (started.append(str(path)), train(e, path, **k))[1])
    command = f"continue with: refrain train --resume --out {tmp_path / 'cut'}$"
    with pytest.raises(Interrupted, match=command):
        runs.train_seeds(experiment, tmp_path / "cut", 3, progress=Stop)
    assert [path[-1] for path in started] == ["1", "2"]
    done = refrain("train", "--resume", "--out", str(tmp_path / "cut"))
    assert "mean" in done.out and "std" in done.out
    summary = json.loads((tmp_path / "cut" / "summary.json").read_text())
    for split in ("valid", "test"):
        assert summary[split] == whole[split]


def test_a_seed_whose_training_diverges_does_not_keep_the_others(refrain, corpus, tmp_path, monkeypatch):
    out, bad = tmp_path / "runs", {2}
    train = seeds_module.train

    def sometimes(experiment, path, **options):
        if experiment.training.seed in bad:
            raise DivergedError("the loss is inf; start again with a lower training.learning_rate")
        return train(experiment, path, **options)

    monkeypatch.setattr(seeds_module, "train", sometimes)
    words = ["train", "zaremba-small", *SMALL, "--data", corpus, "--out", out]
    done = refrain(*words, "--seeds", "3")
    assert done.status == 2 and "seed 2 has failed: " in done.err and "lower training.learning_rate" in done.err
    summary = json.loads((out / "summary.json").read_text())
    assert summary["seeds"] == [1, 3] and list(summary["failed"]) == ["2"]
    values = [run["test"]["perplexity"] for run in summary["runs"]]
    assert summary["test"]["perplexity"] == {"mean": statistics.fmean(values), "std": statistics.stdev(values)}
    # it is tried again, and fails or not
    again = refrain("train", "--resume", "--out", out, "--json")
    assert again.status == 2 and list(json.loads(again.out)["failed"]) == ["2"]
    bad.clear()
    again = refrain("train", "--resume=auto", *words[1:], "--json")
    assert again.status == 0 and again.json["seeds"] == [1, 2, 3] and "failed" not in again.json
    bad |= {1, 2}
    shutil.rmtree(out)
    done = refrain(*words, "--seeds", "2")
    assert done.status == 2 and "every seed has failed: " in done.err and not (out / "summary.json").exists()


def test_one_seed_has_no_deviation(corpus, tmp_path):
    summary = runs.train_seeds(recipe("zaremba-small", *SMALL, data=corpus), tmp_path / "runs", 1, progress=quiet)
    assert summary["test"]["perplexity"]["std"] is None


def test_folders_that_hold_something_are_left_alone(mistake, corpus, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "thesis.txt").write_text("x")
    words = ("train", "zaremba-small", *SMALL, "--data", corpus, "--seeds", "2", "--out", str(tmp_path / "runs"))
    assert "--force" not in mistake(4, words, "exists already and contains other files than runs of --seeds")
    mistake(4, (*words, "--force"), "--force keeps")
    assert (tmp_path / "runs" / "thesis.txt").exists()


def test_mistakes_are_named(mistake, corpus, tmp_path):
    words = ("train", "zaremba-small", *SMALL, "--data", corpus, "--out", str(tmp_path / "runs"))
    mistake(2, (*words, "--seeds", "0"), "--seeds must be at least 1 and at most 100,000 (got 0)")
    resumed = ("train", "--resume", "--seeds", "2", "--out", tmp_path / "runs")
    (tmp_path / "series" / "seed-1").mkdir(parents=True)
    mistake(4, ("evaluate", tmp_path / "series"), "contains the runs of several seeds; give one of them, such as")
    mistake(2, resumed, "--resume and --seeds exclude each other")


def test_a_series_that_is_replaced_leaves_nothing_behind(corpus, tmp_path, monkeypatch):
    experiment = recipe("zaremba-small", *SMALL, data=corpus)
    runs.train_seeds(experiment, tmp_path / "runs", 3, progress=quiet)
    other = recipe("zaremba-small", *SMALL, "training.learning_rate=0.5", data=corpus)

    def stop(*arguments, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(seeds_module, "train", stop)
        with pytest.raises(KeyboardInterrupt):
            runs.train_seeds(other, tmp_path / "runs", 2, progress=quiet, force=True)
    assert not list((tmp_path / "runs").glob("seed-*"))
    again = runs.resume_seeds(tmp_path / "runs", progress=quiet)
    assert again["seeds"] == [1, 2]
    assert again["test"] == runs.train_seeds(other, tmp_path / "alone", 2, progress=quiet)["test"]


@pytest.mark.skipif(lacks("fcntl"), reason="no module that locks files")
def test_a_series_is_replaced_only_as_a_whole(mistake, corpus, tmp_path, tree):
    out = tmp_path / "runs"
    runs.train_seeds(recipe("zaremba-small", *SMALL, data=corpus), out, 3, progress=quiet)
    with RunFolder(out / "seed-2").locked():
        before = tree(out)
        words = ("train", "zaremba-small", *SMALL, "--data", corpus, "--out", out, "--seeds", "3", "--force")
        mistake(4, words, f"{out / 'seed-2'}: in use by process {os.getpid()} on ")
        assert tree(out) == before


def test_a_mistake_that_the_first_run_finds_leaves_no_folder(corpus, tmp_path):
    experiment = recipe("zaremba-small", *SMALL, "training.batch_size=10000", data=corpus)
    with pytest.raises(UserError):
        runs.train_seeds(experiment, tmp_path / "runs", 2, progress=quiet)
    assert not (tmp_path / "runs").exists()


def test_the_run_of_a_seed_that_is_a_link_is_left_alone(corpus, tmp_path, tree):
    experiment = recipe("zaremba-small", *SMALL, data=corpus)
    runs.train_seeds(experiment, tmp_path / "runs", 1, progress=quiet)
    (tmp_path / "runs" / "seed-1").rename(tmp_path / "mine")
    (tmp_path / "runs" / "seed-1").symlink_to(tmp_path / "mine")
    before = tree(tmp_path / "mine")
    with pytest.raises(CheckpointError, match="seed-1: is a link to another place"):
        runs.train_seeds(experiment, tmp_path / "runs", 1, progress=quiet, force=True)
    with pytest.raises(CheckpointError, match="seed-1: is a link to another place"):
        runs.resume_seeds(tmp_path / "runs", progress=quiet)
    assert tree(tmp_path / "mine") == before


def test_two_starts_at_the_same_moment(refrain, mistake, corpus, tmp_path, monkeypatch):
    out, first = tmp_path / "runs", {}
    words = ["train", "zaremba-small", *SMALL, "--data", corpus, "--out", out, "--seeds", "2", "--quiet"]
    write_once = seeds_module.write_once

    def late(path, content):
        # the other process has found no folder either, and has trained its runs by now
        with monkeypatch.context() as patched:
            patched.setattr(seeds_module, "write_once", write_once)
            plan = {**json.loads(content), "command": "the other"}
            assert write_once(path, json.dumps(plan))
            first.update(runs.resume_seeds(out, progress=quiet))
        return write_once(path, content)

    monkeypatch.setattr(seeds_module, "write_once", late)
    mistake(4, words, f"{out}: in use by another process, which has started its runs at the same moment; share them")
    assert json.loads((out / "summary.json").read_text()) == first and len(first["runs"]) == 2
    assert json.loads((out / "seeds.json").read_text())["command"] == "the other"
    # with --resume=auto, the second shares the runs
    monkeypatch.setattr(seeds_module, "_run_all", lambda folder, plan, progress: {**first, "plan": plan["command"]})
    (out / "seeds.json").rename(tmp_path / "plan")
    shutil.rmtree(out)

    def other(path, content):
        write_once(path, (tmp_path / "plan").read_text())
        return write_once(path, content)

    monkeypatch.setattr(seeds_module, "write_once", other)
    assert refrain(*words, "--resume=auto", "--json").json == {**first, "plan": "the other"}


@pytest.mark.skipif(lacks("fcntl"), reason="no module that locks files")
def test_runs_that_other_processes_train_are_left_to_them_and_waited_for(refrain, corpus, tmp_path, monkeypatch):
    out = tmp_path / "runs"
    words = ["train", "zaremba-small", *SMALL, "--data", corpus, "--out", out, "--json", "--resume=auto", "--seeds"]
    two = refrain(*words, "2").json
    # the second run looks as if another process had it, until this one has nothing else to do
    (out / "seed-2" / "summary.json").unlink()
    with contextlib.ExitStack() as other:
        other.enter_context(RunFolder(out / "seed-2").locked())
        trained, train = [], seeds_module.train
        pauses = []
        monkeypatch.setattr(seeds_module, "train", lambda e, p, **k: (trained.append(p.name), train(e, p, **k))[1])
        monkeypatch.setattr(seeds_module.time, "sleep", lambda seconds: (pauses.append(seconds), other.close()))
        found = refrain(*words, "4")
    assert trained == ["seed-3", "seed-4"] and pauses == [seeds_module.PAUSE_SECONDS]
    assert f"{out / 'seed-2'}: in use by process {os.getpid()} on " in found.err
    assert found.json["seeds"] == [1, 2, 3, 4] and found.json["runs"][:2] == two["runs"]
    assert found.json == json.loads((out / "summary.json").read_text())


def test_taggers_of_spans_have_their_f1_in_the_summary(capsys):
    def one(f1):
        figure = {"accuracy": 0.9, "nats_per_token": 0.3, "spans": {"f1": f1}}
        return {"run": "r", "best_epoch": 1, "valid": figure, "test": figure, "task": "tagger"}

    summary = summarise_seeds(Path("runs"), [1, 2], [one(0.5), one(0.7)])
    assert summary["test"]["span_f1"]["mean"] == pytest.approx(0.6)
    report_training(summary, json=False, quiet=True)
    assert "60.00 %" in capsys.readouterr().out
    assert "span_f1" not in summarise_seeds(Path("runs"), [1], [{**one(0.5), "test": {"accuracy": 0.9}}])["test"]
