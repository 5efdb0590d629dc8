"""A run that version 0.1 began is evaluated, used and continued."""

import json
import pathlib
import shutil

import pytest

from refrain import runs

OLD = pathlib.Path(__file__).parents[1] / "golden" / "run_0.1"
# what version 0.1 itself found; another processor may round otherwise
EXPECTED = json.loads((OLD / "expected.json").read_text())


@pytest.fixture
def old_run(tmp_path, monkeypatch):
    """A copy of the run, stopped in the second of three epochs; its text is in the folder that commands run in."""
    shutil.copytree(OLD, tmp_path / "old", symlinks=True)
    monkeypatch.chdir(tmp_path / "old")
    return pathlib.Path("run")


def perplexities(refrain, run):
    return {
        split: refrain("evaluate", run, "--split", split, "--json").json["perplexity"] for split in ("valid", "test")
    }


def wanted(stage):
    return pytest.approx({split: EXPECTED[stage][split]["perplexity"] for split in ("valid", "test")}, rel=1e-5)


def test_it_has_the_perplexity_that_it_had(refrain, old_run):
    assert json.loads((old_run / "config.json").read_text())["format"] == 1
    assert perplexities(refrain, old_run) == wanted("as_it_stands")


def test_it_continues(refrain, old_run):
    """The figures were recorded with the masks that weight drop has drawn since, which version 0.1 did not draw."""
    assert refrain("train", "--resume", "--out", old_run, "--quiet").status == 0
    assert perplexities(refrain, old_run) == wanted("resumed")
    model = runs.load(old_run).model
    sums = {name: parameter.double().sum().item() for name, parameter in model.named_parameters()}
    assert sums == pytest.approx(EXPECTED["weight_sums"], rel=1e-4, abs=1e-5)


def test_what_is_left_unread_of_it_is_a_mistake(refrain, old_run):
    document = json.loads((old_run / "config.json").read_text())
    del document["experiment"]["model"]["components"]
    (old_run / "config.json").write_text(json.dumps(document))
    outcome = refrain("train", "--resume", "--out", old_run, "--quiet")
    assert outcome.status != 0 and "has the format of version 0.1, but not its contents ('components')" in outcome.err


def test_a_recipe_of_version_0_1_is_answered_with_the_new_names(refrain, write):
    mine = write("mine.toml", 'extends = "awd-lstm-ptb"\n[model]\nhead = "mixture"\ncomponents = 15\n')
    outcome = refrain("check", mine)
    assert outcome.status == 2
    assert f"{mine}:4: model.components: unknown setting; it is now model.head.components" in outcome.err
