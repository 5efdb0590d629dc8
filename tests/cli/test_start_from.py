"""`--from RUN` takes the shape of the run, and sizes can be percentages."""

import json

import pytest
from short_runs import write_cat_and_dog

from refrain.cli.app import COMMANDS, main
from refrain.config import resolve
from refrain.recipes import RECIPES

QUICK = ["training.epochs=1", "training.batch_size=4", "training.window_steps=6", "training.validation=exact"]
QUICK += ["training.sample_tokens=0", "training.backend=torch"]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write_cat_and_dog(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def run(text, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    sizes = ["model.embedding_size=6", "model.hidden_sizes=[8]"]
    assert main(["train", "zaremba-small", "--data", str(text), "--out", str(out), *QUICK, *sizes, "--quiet"]) == 0
    return out


def settings(folder):
    return json.loads((folder / "config.json").read_text())["experiment"]


def test_a_run_is_the_recipe(refrain, run, tmp_path):
    found = refrain("train", "--from", run, "--out", tmp_path / "more", "training.learning_rate=0.5")
    assert found.status == 0, found.err
    before, after = settings(run), settings(tmp_path / "more")
    assert after["training"].pop("learning_rate") == 0.5 and before["training"].pop("learning_rate") == 1.0
    assert before == after
    kept = (tmp_path / "more" / "recipe.toml").read_text()
    assert kept.startswith('extends = "zaremba-small"\n') and kept.count("\n") == 11
    assert resolve(str(tmp_path / "more" / "recipe.toml"), [], RECIPES).model_dump(mode="json") == settings(
        tmp_path / "more"
    )


def test_another_recipe_takes_the_shape(refrain, run, text, tmp_path):
    found = refrain("train", "quickstart", "--from", run, "--data", text, "--out", tmp_path / "b", *QUICK)
    assert found.status == 0, found.err
    said = f"as in {run}: data.min_count=1, model.embedding_size=6, model.hidden_sizes=[8], model.tied=false"
    assert said in found.err.splitlines()
    assert settings(tmp_path / "b")["training"]["optimizer"]["kind"] == "adam"


def test_a_run_is_no_recipe(mistake, run):
    mistake(2, ["train", run], "is a run, not a recipe; start from its weights with: refrain train --from")
    mistake(2, ["check", "quickstrat"], "unknown recipe 'quickstrat'; did you mean 'quickstart'?")
    mistake(4, ["train", "--from", run.parent / "nothing"], "no such run folder")
    mistake(2, ["train"], "which recipe?")


def test_check_starts_from_a_run(refrain, mistake, run, text):
    found = refrain("check", "zaremba-small-iss", "--from", run, "--data", text, *QUICK)
    assert found.status == 0, found.err
    assert f"start        {run}: all 8 words known" in found.out.splitlines(), found.out
    assert "is meant to continue" not in found.err
    # the shape is that of the run, and without a recipe its settings are
    for words in (["zaremba-small-iss", "sparsity.target.multiply_adds=75%"], []):
        found = refrain("check", *words, "--from", run, "--data", text, *QUICK, "--json")
        assert found.json["widths"]["layer0.hidden"] == 8 and found.json["start"]["run"] == str(run)
    assert refrain("check", "zaremba-small", "--data", text, *QUICK, "--json").json["start"] is None


def test_check_refuses_what_train_refuses(mistake, run, text):
    words = ["zaremba-small", "--from", run, "--data", text, *QUICK]
    for command in ("check", "train"):
        mistake(4, [command, *words, "model.hidden_sizes=[9]"], "give the model settings of that run")
        mistake(2, [command, *words, "sparsity.freeze=elements"], "sparsity.freeze: nothing is zero at the start")
        mistake(2, [command], "which recipe?")


def test_a_target_as_a_percentage_is_recorded_as_a_number(refrain, run, text, tmp_path):
    words = ["zaremba-small-iss", "--from", run, "--data", text, "--out", tmp_path / "s", *QUICK]
    words += ["sparsity.target.multiply_adds=75%"]
    found = refrain("train", *words)
    assert found.status == 0, found.err
    # 4 * 8 * (6 + 8) in the layer and 8 * 8 in the head
    assert settings(tmp_path / "s")["sparsity"]["target"]["multiply_adds"] == round(0.75 * 512)
    assert json.loads((tmp_path / "s" / "manifest.json").read_text())["target"] == {"multiply_adds": "75%"}
    again = refrain("train", *words, "--resume=auto")
    assert again.status == 0 and "is finished" in again.err, again.err
    other = refrain("train", *words, "--resume=auto", "sparsity.target.multiply_adds=50%")
    assert other.status == 4 and "sparsity.target.multiply_adds" in other.err


def test_compress_to_a_percentage(refrain, mistake, run, tmp_path):
    found = refrain("compress", run, "--out", tmp_path / "small", "--to", "multiply_adds=90%", "--json").json
    assert found["after"]["multiply_adds"] <= 0.9 * found["before"]["multiply_adds"]
    mistake(
        2, ["compress", run, "--out", tmp_path / "x", "--to", "bytes=150%"], "a percentage must be between 0% and 100%"
    )
    mistake(
        2,
        ["compress", run, "--out", tmp_path / "x", "--to", "bytes=many"],
        "as in parameters=7M, parameters=50% or bytes=2MB",
    )


def test_what_follows_a_setting_is_printed(refrain, text):
    found = refrain("check", "awd-lstm-ptb", "--data", text, *QUICK, "model.hidden_sizes=[8]")
    assert found.status == 0, found.err
    assert "training.epochs=1 brings with it training.optimizer=sgd (was nt-asgd)" in found.err.splitlines()
    assert "model.hidden_sizes=[8] brings with it model.embedding_size=8 (was 400), " in found.err


def test_the_seed_of_each_run_is_named(refrain, text, tmp_path):
    sizes = ["model.embedding_size=6", "model.hidden_sizes=[8]", "training.seed=7"]
    found = refrain("train", "zaremba-small", "--data", text, "--out", tmp_path / "s", *QUICK, *sizes, "--seeds", "2")
    assert found.status == 0, found.err
    lines = [line for line in found.err.splitlines() if line.startswith("seed ")]
    assert lines == ["seed 7, run 1 of 2", "seed 8, run 2 of 2"]
    run = refrain("train", "zaremba-small", "--from", tmp_path / "s" / "seed-7", "--data", text, *QUICK, "--seeds", "0")
    assert run.status == 2


def test_widths_of_check_are_aligned(refrain, text):
    found = refrain("check", "mlstm-small", "--data", text, *QUICK, "model.hidden_sizes=[8]").out
    columns = {len(line) - len(line.split()[-1]) for line in found.splitlines() if line.startswith("  ")}
    assert len(columns) == 1


def test_no_list_has_an_option_that_empties_it(refrain):
    for name in COMMANDS:
        assert "--empty-" not in refrain(name, "--help").out
