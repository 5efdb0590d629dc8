"""A run is lengthened: it continues with its optimiser, averages and schedule, and the change is recorded."""

import json
import shutil

import pytest
import torch
from short_runs import Stopping, assert_same_bits, quiet, trace, write_splits

import refrain
from refrain import recipe, runs
from refrain.errors import CheckpointError, UserError
from refrain.runs import continuing
from refrain.runs.continuing import changed_words
from refrain.runs.outline import changed_lines
from refrain.storage.run_folder import RunFolder
from refrain.training import Interrupted

SMALL = (
    "model.embedding_size=6",
    "model.hidden_sizes=[6,6]",
    "training.batch_size=3",
    "training.window_steps=4",
    "training.device=cpu",
    "training.sample_tokens=3",
    "training.validation=exact",
)
# everything that remembers: averages, counts of validations, momentum, and windows of random length
RECIPES = {
    "averaged": (
        "awd-lstm-ptb",
        "training.optimizer.trigger_window=1",
        "training.stop_window=none",
        "training.log_windows=3",
    ),
    "momentum": ("zaremba-small", "training.optimizer.momentum=0.9", "training.learning_rate=0.1"),
    "plateau": ("zaremba-small", "training.optimizer=adam", "training.schedule={kind='plateau', decay=0.5}"),
    "penalised": ("zaremba-small", "sparsity.group_lasso.strength=0.001", "sparsity.group_lasso.widths=['*.hidden']"),
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return str(write_splits(tmp_path_factory.mktemp("lengthened"), "a b c d\nb c a\n", (9, 3, 3)))


@pytest.fixture
def build(corpus):
    return lambda *words: recipe("zaremba-small", *SMALL, *words, data=corpus)


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory):
    """A finished run of two epochs, to be copied."""
    out = tmp_path_factory.mktemp("finished") / "run"
    runs.train(recipe("zaremba-small", *SMALL, "training.epochs=2", data=corpus), out, progress=quiet())
    return out


@pytest.fixture
def run(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run", symlinks=True)
    return tmp_path / "run"


def manifest(run):
    return json.loads((run / "manifest.json").read_text())


@pytest.mark.parametrize("name", RECIPES)
def test_a_lengthened_run_equals_one_of_that_length(name, corpus, tmp_path):
    source, *words = RECIPES[name]
    words = [*SMALL, *words]
    if source.startswith("awd"):
        words.append("model.weight_drop=0.3")
    runs.train(recipe(source, *words, "training.epochs=4", data=corpus), tmp_path / "whole", progress=quiet())
    runs.train(recipe(source, *words, "training.epochs=2", data=corpus), tmp_path / "run", progress=quiet())
    torch.manual_seed(99)
    summary = runs.resume(tmp_path / "run", settings=["training.epochs=4"], progress=quiet())
    whole = trace(tmp_path / "whole")
    assert_same_bits(trace(tmp_path / "run"), whole)
    assert summary["epochs"] == whole[0]["position"]["epoch"] == 4


def test_a_run_within_an_epoch_is_lengthened(build, tmp_path):
    runs.train(build("training.epochs=4"), tmp_path / "whole", progress=quiet())
    with pytest.raises(Interrupted):
        runs.train(build("training.epochs=2"), tmp_path / "run", progress=Stopping(7))
    with pytest.raises(Interrupted):
        runs.resume(tmp_path / "run", settings=["training.epochs=3"], progress=Stopping(9))
    runs.resume(tmp_path / "run", settings=["training.epochs=4"], progress=quiet())
    assert_same_bits(trace(tmp_path / "run"), trace(tmp_path / "whole"))
    first, second = manifest(tmp_path / "run")["resumed"]
    assert (first["epoch"], first["window"], first["step"]) == (1, 1, 7)
    assert first["settings"] == {"training.epochs": {"before": 2, "after": 3}}
    assert second["step"] == 16
    assert second["settings"] == {"training.epochs": {"before": 3, "after": 4}}


def test_the_change_is_recorded(run):
    before = manifest(run)
    refrain.resume(run, settings=["training.epochs=3", "training.sample_tokens=0"], progress=quiet())
    (entry,) = manifest(run)["resumed"]
    assert entry["settings"] == {
        "training.epochs": {"before": 2, "after": 3},
        "training.sample_tokens": {"before": 3, "after": 0},
    }
    assert entry["epoch"] == 2 and entry["window"] == 0
    assert {**before, "resumed": [entry]} == manifest(run)
    training = json.loads((run / "config.json").read_text())["experiment"]["training"]
    assert (training["epochs"], training["sample_tokens"]) == (3, 0)
    card = (run / "README.md").read_text()
    assert "Resumed after epoch 2 with training.epochs=3 (was 2), training.sample_tokens=0 (was 3)." in card
    assert json.loads((run / "summary.json").read_text())["epochs"] == 3
    refrain.resume(run, progress=quiet())
    assert manifest(run)["resumed"] == [entry]


def test_values_are_written_as_on_the_command_line():
    own, given = (recipe("pos-default", f"training.stop_window={value}") for value in (3, "none"))
    assert changed_words(own, given) == ["training.stop_window is none from here on (was 3)"]
    entry = {"epoch": 2, "window": 0, "settings": {"training.stop_window": {"before": 3, "after": None}}}
    assert "Resumed after epoch 2 with training.stop_window=none (was 3)." in changed_lines({"resumed": [entry]})


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_a_schedule_that_depends_on_the_length_says_so(build, tmp_path, capsys, kind):
    runs.train(build(f"training.schedule={kind}", "training.learning_rate=0.5"), tmp_path / "run", progress=quiet())
    epochs = build().training.epochs
    runs.resume(tmp_path / "run", settings=[f"training.epochs={2 * epochs}"])
    note = f"the learning rate follows the {kind} schedule over {2 * epochs} epochs from here on: it is 0.25, and was 0"
    assert note in capsys.readouterr().err
    assert manifest(tmp_path / "run")["resumed"][0]["notes"] == [note]
    assert note in (tmp_path / "run" / "README.md").read_text()


def test_the_lengths_of_a_schedule_change_from_here_on(build, tmp_path):
    words = ("training.epochs=2", "training.schedule={kind='exponential', decay=0.5, hold_epochs=1}")
    runs.train(build(*words), tmp_path / "run", progress=quiet())
    runs.resume(tmp_path / "run", settings=["training.epochs=3", "training.schedule.hold_epochs=3"], progress=quiet())
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["learning_rate"] for line in lines if line["event"] == "valid"] == [1.0, 0.5, 1.0]
    assert "it is 1, and was 0.25" in manifest(tmp_path / "run")["resumed"][0]["notes"][0]


def test_a_run_that_was_stopped_early_continues(build, tmp_path):
    words = ("training.epochs=8", "training.learning_rate=30", "training.max_norm=none")
    experiment = build(*words, "training.stop_window=1")
    stopped = runs.train(experiment, tmp_path / "run", progress=quiet())["epochs"]
    assert stopped < 8
    # the same settings do not start it again
    assert runs.resume(tmp_path / "run", progress=quiet())["epochs"] == stopped
    # nor do reports
    assert runs.resume(tmp_path / "run", settings=["training.sample_tokens=0"], progress=quiet())["epochs"] == stopped
    found = runs.resume(tmp_path / "run", settings=["training.stop_window=none"], progress=quiet())
    assert found["epochs"] == 8
    # the rule that was not there before counts from here on
    again = runs.resume(tmp_path / "run", settings=["training.epochs=20", "training.stop_window=1"], progress=quiet())
    assert 8 + 3 <= again["epochs"] < 20


def test_other_settings_are_refused(run, tree):
    before = tree(run)
    with pytest.raises(CheckpointError, match=r"training\.learning_rate: 1\.0 in the run, 0\.5 now\); only training"):
        runs.resume(run, settings=["training.learning_rate=0.5", "training.epochs=9"], progress=quiet())
    with pytest.raises(UserError, match=r"training\.epocs: unknown key; did you mean 'epochs'"):
        runs.resume(run, settings=["training.epocs=9"], progress=quiet())
    with pytest.raises(CheckpointError, match="has finished 2 epochs and cannot be shortened to 1; give 2 or more"):
        runs.resume(run, settings=["training.epochs=1"], progress=quiet())
    assert {name: digest for name, digest in tree(run).items() if name != ".lock"} == {
        name: digest for name, digest in before.items() if name != ".lock"
    }


def test_settings_that_may_not_change_are_named_before_their_values_are_judged(run):
    said = r"run: model\.hidden_sizes cannot be changed; only training\.epochs, .* may change when a run is resumed"
    with pytest.raises(CheckpointError, match=said):
        runs.resume(run, settings=["model.hidden_sizes=[0]"], progress=quiet())
    with pytest.raises(UserError, match=r"training\.epochs: must be a whole number \(got 'two'\)"):
        runs.resume(run, settings=["training.epochs=two"], progress=quiet())


def test_a_single_setting_is_a_list_of_one(run):
    assert refrain.resume(run, settings="training.epochs=3", progress=quiet())["epochs"] == 3
    assert refrain.resume(run, settings={"training.epochs": 4}, progress=quiet())["epochs"] == 4
    for wrong in (5, [5]):
        with pytest.raises(UserError, match=r"settings: must be a list of settings, .* \(got .*5"):
            refrain.resume(run, settings=wrong, progress=quiet())


def test_a_run_at_its_end_is_only_measured(run, build, tmp_path, capsys):
    runs.resume(run)
    said = "at its end: nothing is trained, and the model is measured"
    assert said in capsys.readouterr().err
    with pytest.raises(Interrupted):
        runs.train(build("training.epochs=3"), tmp_path / "cut", progress=Stopping(8))
    runs.resume(tmp_path / "cut", settings=["training.epochs=2"])
    assert said not in capsys.readouterr().err


def test_an_epoch_that_has_begun_is_not_cut_off(build, tmp_path):
    with pytest.raises(Interrupted):
        runs.train(build("training.epochs=3"), tmp_path / "run", progress=Stopping(10))
    with pytest.raises(CheckpointError, match="is in epoch 2 and cannot be shortened to 1; give 2 or more"):
        runs.resume(tmp_path / "run", settings=["training.epochs=1"], progress=quiet())
    assert runs.resume(tmp_path / "run", settings=["training.epochs=2"], progress=quiet())["epochs"] == 2


@pytest.mark.parametrize("written", ["manifest.json", "config.json"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_while_the_change_is_recorded_leaves_a_run(run, finished, tmp_path, monkeypatch, written, moment):
    wanted = tmp_path / "wanted"
    shutil.copytree(finished, wanted, symlinks=True)
    runs.resume(wanted, settings=["training.epochs=3"], progress=quiet())
    write = RunFolder.write_json

    def crash(self, name, data):
        if name == written and moment == "before":
            raise KeyboardInterrupt
        write(self, name, data)
        if name == written:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "write_json", crash)
        with pytest.raises(KeyboardInterrupt):
            runs.resume(run, settings=["training.epochs=3"], progress=quiet())
    took_effect = (written, moment) == ("config.json", "after")
    copy = tmp_path / "copy"
    shutil.copytree(run, copy, symlinks=True)
    # without the change, the run is what it was, and has no record of it
    assert runs.resume(copy, progress=quiet())["epochs"] == (3 if took_effect else 2)
    assert len(manifest(copy).get("resumed", [])) == took_effect
    # with it, it is lengthened once
    assert runs.resume(run, settings=["training.epochs=3"], progress=quiet())["epochs"] == 3
    assert len(manifest(run)["resumed"]) == 1
    assert_same_bits(trace(run), trace(wanted))


def test_a_stopped_run_that_is_killed_once_lengthened_still_continues(build, tmp_path, monkeypatch):
    words = ("training.epochs=8", "training.learning_rate=30", "training.max_norm=none", "training.stop_window=1")
    stopped = runs.train(build(*words), tmp_path / "run", progress=quiet())["epochs"]
    assert RunFolder(tmp_path / "run").newest()[0].document("training")["position"]["stopped"]
    write = RunFolder.write_json

    def crash(self, name, data):
        write(self, name, data)
        if name == "config.json":
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "write_json", crash)
        with pytest.raises(KeyboardInterrupt):
            runs.resume(tmp_path / "run", settings=["training.epochs=9"], progress=quiet())
    assert runs.resume(tmp_path / "run", progress=quiet())["epochs"] == stopped + 1


def test_pruning_that_is_finished_stays_finished(build, tmp_path):
    experiment = build("training.epochs=2", "sparsity.prune={share=0.5, begin=0.01, end=0.9}")
    runs.train(experiment, tmp_path / "run", progress=quiet())
    runs.resume(tmp_path / "run", settings=["training.epochs=8"], progress=quiet())
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    valid = [line for line in lines if line["event"] == "valid"]
    shares = [line["sparsity"] for line in valid]
    assert shares[1:] == [shares[1]] * 7
    # each validation since then is compared with the others, since the pruning is finished
    assert min(valid[1:], key=lambda line: line["nats_per_token"])["best"]
    assert "sparsity.prune: fractions of the run" in manifest(tmp_path / "run")["resumed"][0]["notes"][0]


def test_a_run_that_is_shortened_still_finishes_its_pruning(build, tmp_path):
    experiment = build("training.epochs=6", "sparsity.prune={share=0.5, begin=0.01, end=0.5}")
    with pytest.raises(Interrupted):
        runs.train(experiment, tmp_path / "run", progress=Stopping(14))
    runs.resume(tmp_path / "run", settings=["training.epochs=4"], progress=quiet())
    position = RunFolder(tmp_path / "run").newest()[0].document("training")["position"]
    assert position["best"]["settled"]
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["sparsity"] == pytest.approx(0.5, abs=0.05)


def test_a_tagger_is_lengthened(tmp_path):
    sentences = [[("the", "D"), ("cat", "N"), ("runs", "V")], [("a", "D"), ("dog", "N")]] * 5
    text = "\n".join("".join(f"{word}\t{tag}\n" for word, tag in each) for each in sentences)
    (tmp_path / "toy").mkdir()
    for split in ("train", "valid", "test"):
        (tmp_path / "toy" / f"{split}.tsv").write_text(text)
    words = ("model.embedding_size=4", "model.hidden_sizes=[4]", "training.batch_size=2", "training.stop_window=none")
    words += ("training.schedule=constant", "data.column=auto")

    def tagger(epochs):
        return recipe("pos-default", *words, f"training.epochs={epochs}", data=str(tmp_path / "toy"))

    runs.train(tagger(4), tmp_path / "whole", progress=quiet())
    runs.train(tagger(2), tmp_path / "run", progress=quiet())
    runs.resume(tmp_path / "run", experiment=tagger(4), progress=quiet())
    assert_same_bits(trace(tmp_path / "run"), trace(tmp_path / "whole"))
    assert "training.epochs=4 (was 2)" in (tmp_path / "run" / "README.md").read_text()


def test_a_record_of_a_change_that_took_effect_is_kept(build):
    own = build("training.epochs=3")
    entry = {"settings": {"training.epochs": {"before": 2, "after": 3}}}
    assert continuing._took_effect(entry, own)
    assert not continuing._took_effect(entry, build("training.epochs=2"))
