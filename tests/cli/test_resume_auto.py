"""One command line starts a run and continues it: --resume=auto, also for several seeds and for finished runs."""

import json
import shutil
import sys

import pytest
from blocked_modules import lacks
from short_runs import Stopping, quiet

from refrain import recipe, runs
from refrain.runs import training as training_module
from refrain.storage.run_folder import RunFolder
from refrain.training import Interrupted

AUTO = "--resume=auto"


@pytest.fixture
def experiment(tiny_settings, tiny_corpus):
    return recipe("zaremba-small", *tiny_settings, data=str(tiny_corpus))


@pytest.fixture
def auto(train, tiny_corpus):
    """The command line of a job that is requeued."""
    return [*train(tiny_corpus), AUTO]


def test_it_starts_then_continues_then_has_nothing_to_do(refrain, auto, experiment, tmp_path, tree, monkeypatch):
    whole = runs.train(experiment, tmp_path / "whole", progress=quiet())
    with pytest.raises(Interrupted):
        runs.train(experiment, tmp_path / "run", progress=Stopping(7), resume="auto")
    outcome = refrain(*auto, "--json")
    assert outcome.json["test"] == whole["test"]
    assert "resuming" in outcome.err
    before = tree(tmp_path / "run")
    monkeypatch.setattr(runs, "resume", None)
    outcome = refrain(*auto, "--json")
    assert outcome.json["test"] == whole["test"]
    assert "is finished; nothing is trained" in outcome.err and "resuming" not in outcome.err
    assert tree(tmp_path / "run") == before
    assert refrain(*auto).out.startswith("valid  perplexity")


def test_it_lengthens_a_run(refrain, auto, tmp_path):
    assert refrain(*auto, "--json").json["epochs"] == 2
    assert refrain(*auto, "training.epochs=3", "--json").json["epochs"] == 3
    assert refrain("train", "--out", tmp_path / "run", AUTO, "training.epochs=4", "--json").json["epochs"] == 4
    assert refrain("train", "--out", tmp_path / "run", "--resume", "training.epochs=5", "--json").json["epochs"] == 5
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert [entry["settings"]["training.epochs"]["after"] for entry in manifest["resumed"]] == [3, 4, 5]


def test_other_settings_are_refused(refrain, mistake, auto, tmp_path, tree):
    assert refrain(*auto).status == 0
    before = tree(tmp_path / "run")
    said = "training.seed: 1 in the run, 7 now); only training.epochs, training."
    mistake(4, [*auto, "training.seed=7"], said, "refrain train RECIPE --from")
    mistake(4, ["train", "--out", tmp_path / "run", "--resume", "training.seed=7"], said)
    assert tree(tmp_path / "run") == before


@pytest.mark.parametrize("last", ["create", "config.json", "recipe.toml", "manifest.json", "save"])
def test_a_run_that_was_killed_before_its_first_checkpoint_is_started_again(
    refrain, auto, experiment, tmp_path, monkeypatch, last
):
    def crash_after(name):
        original = getattr(RunFolder, name)

        def call(self, *arguments, **more):
            if name == last:
                raise KeyboardInterrupt
            original(self, *arguments, **more)
            if arguments and arguments[0] == last:
                (self.path / ".tmp-killed").write_text("half")
                raise KeyboardInterrupt

        return call

    with monkeypatch.context() as patched:
        for name in ("write_json", "write_text", "save"):
            patched.setattr(RunFolder, name, crash_after(name))
        if last == "create":
            patched.setattr(RunFolder, "locked", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            runs.train(experiment, tmp_path / "run", progress=quiet())
    outcome = refrain(*auto, "--json")
    assert outcome.json["epochs"] == 2
    assert "a run was started here and has no checkpoint yet; it is started again" in outcome.err
    assert not (tmp_path / "run" / ".tmp-killed").exists()


@pytest.mark.parametrize(
    "files",
    [
        ["thesis.txt"],
        ["checkpoints/step-000000001/thesis.txt"],
        ["checkpoints/x", "config.json"],
        ["samples/mine.txt", "checkpoints/.tmp-x"],
        ["recipe.toml"],
        ["checkpoints/.tmp-x", "recipe.toml"],
        ["samples/.tmp-x"],
        ["metrics.jsonl", "checkpoints/.tmp-x"],
        ["tensorboard/notes.txt", "checkpoints/.tmp-x"],
    ],
)
def test_a_folder_with_anything_else_is_left_alone(mistake, auto, tmp_path, tree, files):
    for name in files:
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_text("mine")
    before = tree(tmp_path / "run")
    mistake(4, auto)
    assert tree(tmp_path / "run") == before


@pytest.mark.skipif(lacks("fcntl") and sys.platform != "win32", reason="no module that locks files")
def test_a_run_that_another_process_has_just_started_is_left_alone(mistake, auto, tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with RunFolder(tmp_path / "run").locked():
        mistake(4, auto, "in use by process")


@pytest.mark.parametrize("seeds", [False, True])
def test_a_run_that_another_process_finishes_in_the_meantime_is_kept(
    refrain, mistake, auto, experiment, tmp_path, tree, monkeypatch, seeds
):
    path = tmp_path / "run" / "seed-1" if seeds else tmp_path / "run"
    read, found = training_module.read_corpus, {}

    def late(*arguments):
        # the other process has found a run without a checkpoint, too, and was faster
        monkeypatch.setattr(training_module, "read_corpus", read)
        found["other"] = runs.train(experiment, path, progress=quiet(), resume="auto")
        found["tree"] = tree(path)
        return read(*arguments)

    monkeypatch.setattr(training_module, "read_corpus", late)
    if seeds:
        monkeypatch.setattr(runs.seeds, "PAUSE_SECONDS", 0)
        (run,) = refrain(*auto, "--seeds", "1", "--json").json["runs"]
        assert run["test"]["perplexity"] == found["other"]["test"]["perplexity"]
    else:
        (path / "checkpoints").mkdir(parents=True)
        mistake(4, auto, f"{path}: another process has trained this run in the meantime; continue it with")
    assert tree(path) == found["tree"]


def test_usage(mistake, auto, tmp_path, refrain):
    mistake(2, ["train", "quickstart", AUTO], "--resume=auto needs the run folder")
    mistake(2, [*auto, "--force"], "--resume=auto and --force exclude each other")
    mistake(2, ["train", "--out", tmp_path / "new", AUTO], "which recipe?")
    mistake(2, ["train", "quickstart", "--resume=often"], "--resume")
    assert "--resume=auto" in refrain("train", "--help").out


def test_seeds_are_started_continued_and_added(refrain, auto, mistake, experiment, tmp_path, monkeypatch):
    whole = runs.train_seeds(experiment, tmp_path / "whole", 3, progress=quiet)
    with pytest.raises(Interrupted):
        runs.train_seeds(experiment, tmp_path / "run", 2, progress=lambda: Stopping(2))
    words = [*auto, "--seeds"]
    assert refrain(*words, "2", "--json").json["seeds"] == [1, 2]
    started = []
    train = training_module.train
    monkeypatch.setattr(runs.seeds, "train", lambda e, path, **k: (started.append(path.name), train(e, path, **k))[1])
    found = refrain(*words, "3", "--json").json
    assert started == ["seed-3"]
    assert (found["seeds"], found["test"]) == ([1, 2, 3], whole["test"])
    assert json.loads((tmp_path / "run" / "seeds.json").read_text())["seeds"] == [1, 2, 3]
    again = refrain(*auto, "--json")
    assert again.json["test"] == whole["test"] and "epoch 1" not in again.err
    mistake(4, [*words, "2"], "has the runs of 3 seeds; give --seeds 3 or more")


def test_seeds_are_lengthened(refrain, auto, mistake, tmp_path, experiment):
    words = [*auto, "--seeds", "2"]
    refrain(*words)
    found = refrain(*words, "training.epochs=3", "--json").json
    longer = experiment.model_copy(update={"training": experiment.training.model_copy(update={"epochs": 3})})
    whole = runs.train_seeds(longer, tmp_path / "whole", 2, progress=quiet)
    assert found["test"] == whole["test"]
    assert "training.epochs = 3" in json.loads((tmp_path / "run" / "seeds.json").read_text())["recipe"]
    mistake(4, words, "cannot be shortened; give 3 or more")
    assert refrain("train", "--resume", "--out", tmp_path / "run", "--json").json["test"] == whole["test"]


def test_a_series_that_was_killed_before_its_plan_is_started(refrain, auto, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".tmp-seeds.json-123").write_text("{")
    assert refrain(*auto, "--seeds", "1", "--json").json["seeds"] == [1]


def test_a_single_run_does_not_become_a_series(refrain, auto, mistake):
    refrain(*auto)
    mistake(4, [*auto, "--seeds", "2"], "is the run of one seed")


def test_a_series_of_version_0_1_continues_with_names_of_this_version(refrain, old_series):
    assert refrain("train", "--resume", "--out", old_series, "--quiet").status == 0
    for seed in (28, 29):
        text = (old_series / f"seed-{seed}" / "recipe.toml").read_text()
        assert "training.trigger_window" not in text and "training.optimizer.trigger_window = " in text
        assert f"training.seed = {seed}" in text
    assert refrain("check", old_series / "seed-29" / "recipe.toml").status == 0


@pytest.fixture
def old_series(tmp_path, request):
    """The runs of two seeds as version 0.1 wrote them, of which neither is begun."""
    golden = request.path.parents[1] / "golden" / "run_0.1"
    shutil.copytree(golden / "corpus", tmp_path / "corpus")
    document = json.loads((golden / "run" / "config.json").read_text())
    document["experiment"]["data"]["corpus"] = str(tmp_path / "corpus")
    plan = {
        "seeds": [28, 29],
        "config": document,
        "from": None,
        "recipe": 'extends = "awd-lstm-mos-ptb"\ntraining.trigger_window = 5\n',
        "command": "refrain train awd-lstm-mos-ptb --seeds 2",
    }
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "seeds.json").write_text(json.dumps(plan))
    return tmp_path / "series"
