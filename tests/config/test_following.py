"""Settings of a recipe that follow another one which was given, and those of a run from which another one starts."""

import numpy as np
import pytest

from refrain.config import Experiment, Target, resolve
from refrain.config.loader import Start, recipe_below, unknown_recipe
from refrain.config.sparsity import sized
from refrain.config.toml_text import toml_beside
from refrain.config.values import percentage
from refrain.errors import UserError
from refrain.recipes import RECIPES


def resolved(name, *words, **more):
    """The settings, and the lines that were logged."""
    lines = []
    return resolve(str(name), words, RECIPES, log=lines.append, **more), lines


def mistake(name, *words, **more):
    with pytest.raises(UserError) as caught:
        resolve(str(name), words, RECIPES, **more)
    return str(caught.value)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize(
    "words",
    [
        ["training.epochs=1"],
        ["training.epochs=2"],
        ["model.hidden_sizes=[32]"],
        ["model.hidden_sizes=[32,48]"],
        ["model.embedding_size=32"],
        ["model.dropout=0"],
        ["training.epochs=1", "model.hidden_sizes=[32]", "model.embedding_size=32"],
    ],
    ids=" ".join,
)
def test_every_recipe_can_be_shrunk(name, words):
    assert resolved(name, *words)[0]


def test_what_is_longer_than_the_run_becomes_shorter_and_is_said():
    found, lines = resolved("pos-default", "training.epochs=1")
    assert found.training.stop_window is None
    assert lines == ["training.epochs=1 brings with it training.stop_window=none (was 4)"]
    assert resolved("pos-default", "training.epochs=3")[0].training.stop_window == 2
    assert resolved("pos-default", "training.epochs=5") == (resolved("pos-default", "training.epochs=5")[0], [])
    assert resolved("sparse-awd-ptb", "training.epochs=4")[0].training.optimizer.trigger_window == 3
    assert resolved("sparse-awd-ptb", "training.epochs=1")[0].training.optimizer.kind == "sgd"
    held = resolved("zaremba-large-l1", "training.epochs=11")[0].training.schedule
    # 18 of 55 epochs
    assert (held.hold_epochs, held.step_epochs) == (4, 4)


def test_what_was_typed_stays_and_is_refused():
    assert mistake("pos-default", "training.epochs=1", "training.stop_window=4").startswith(
        "command line: training.stop_window: 4 looks further back"
    )
    assert mistake("zaremba-small", "model.tied=true", "model.hidden_sizes=[4]", "model.embedding_size=5").startswith(
        "command line: model.tied: needs"
    )
    found, _ = resolved("zaremba-small", "training.epochs=2", "training.schedule.hold_epochs=4")
    assert found.training.schedule.hold_epochs == 4


def test_a_file_is_a_recipe_for_the_command_line(write):
    mine = write("mine.toml", 'extends = "pos-default"\n[training]\nstop_window = 3\n')
    assert resolved(mine, "training.epochs=2")[0].training.stop_window == 1
    wrong = write("wrong.toml", 'extends = "pos-default"\n[training]\nstop_window = 3\nepochs = 2\n')
    assert mistake(wrong).startswith(f"{wrong}:3: training.stop_window: 3 looks further back")


def test_a_mistake_in_a_value_of_the_recipe_names_the_recipe():
    assert mistake("quickstart", "model.cell=multiplicative-lstm", "model.head=adaptive", "model.head.cutoffs=[5]") == (
        "recipe quickstart: model.tied: cannot take effect with the adaptive head (command line: model.head.cutoffs)"
    )


def test_tied_widths_follow_each_other():
    found, lines = resolved("quickstart", "model.hidden_sizes=[32]")
    assert (found.model.embedding_size, found.model.hidden_sizes) == (32, (32,))
    assert lines == ["model.hidden_sizes=[32] brings with it model.embedding_size=32 (was 160)"]
    found, _ = resolved("awd-lstm-ptb", "model.embedding_size=48")
    assert found.model.hidden_sizes == (1150, 1150, 48)
    # the widths of a mixture are not tied to those of the layers
    assert resolved("awd-lstm-mos-ptb", "model.hidden_sizes=[32,16]")[0].model.embedding_size == 280


def test_others_follow_a_number_in_whatever_form_it_is_given(write):
    found, lines = resolved("zaremba-medium", "training.epochs=3")
    assert found.training.schedule.hold_epochs == 1
    for value in (3, 3.0, "3", np.int64(3), np.array(3)):
        assert resolved("zaremba-medium", {"training.epochs": value}) == (found, lines)
    mine = write("mine.toml", 'extends = "zaremba-medium"\ntraining.epochs = 3.0\n')
    assert resolved(mine) == (found, lines)
    tied = resolved("quickstart", "model.hidden_sizes=[8]")
    assert tied[0].model.embedding_size == 8
    for value in ([8.0], ["8"], (8,), [np.int32(8)], np.array([8]), iter([8])):
        assert resolved("quickstart", {"model.hidden_sizes": value}) == tied
    accurate = Experiment.model_validate({"training": {"train_accuracy": True, "stop_accuracy": 0.9}})
    for value in (False, "false", 0, np.False_):
        start = Start("runs/a", accurate)
        found = resolve(None, [{"training.train_accuracy": value}], RECIPES, start=start)
        assert found.training.stop_accuracy is None
    # what is wrong is refused as it was given
    assert "must be a whole number (got 2.5)" in mistake("zaremba-medium", {"training.epochs": 2.5})
    assert "(got True)" in mistake("zaremba-medium", {"training.epochs": True})


def test_what_a_penalty_needed_goes_with_it():
    found, _ = resolved("zaremba-small-iss", "sparsity.group_lasso=none")
    assert not found.sparsity.penalised() and found.sparsity.target is None
    assert found.sparsity.strengths_for == "this-loss"
    found, _ = resolved("zaremba-small-iss", "sparsity.target.parameters=3M")
    assert found.sparsity.target == Target(parameters=3_000_000, reached=0.5)


def test_two_targets_at_once_are_refused_with_a_remedy():
    words = ["sparsity.target.parameters=3M", "sparsity.target.bytes=3M"]
    assert mistake("zaremba-small-iss", *words) == (
        "command line: sparsity.target.parameters: cannot be a target beside bytes; keep one of them, as with "
        "sparsity.target.bytes=none"
    )


def test_sizes_as_percentages():
    assert [percentage(text) for text in ("50%", "12.5 %", "7M", 3)] == [0.5, 0.125, None, None]
    assert (sized("12.5%", 1000), sized(7, 1000)) == (125, 7)
    assert resolved("zaremba-small-iss", "sparsity.target.multiply_adds=40%")[0].sparsity.target.chosen() == (
        "multiply_adds",
        "40%",
    )
    for value in ("0%", "100%", "250%"):
        assert "must be more than 0% and less than 100%" in mistake(
            "zaremba-small-iss", f"sparsity.target.bytes={value}"
        )
    assert "must be at least 1 (got 0)" in mistake("zaremba-small-iss", "sparsity.target.bytes=0")
    assert "a percentage such as 50% (got 'x%')" in mistake("zaremba-small-iss", "sparsity.target.bytes=x%")


def started(name, *words):
    return Start("runs/a", resolved(name, *words)[0])


def test_a_run_to_start_from_gives_its_shape():
    start = started("mlstm-small", "model.hidden_sizes=[24]", "model.head=mixture", "model.head.components=3")
    found, lines = resolved("zaremba-small", "training.epochs=1", start=start)
    assert found.model.cell == start.experiment.model.cell
    assert found.model.head.components == 3 and found.model.hidden_sizes == (24,)
    assert (found.data.unit, found.model.weight_norm) == ("byte", True)
    # what is no shape is that of the recipe
    assert (found.data.corpus, found.training.learning_rate, found.model.dropout) == ("ptb", 1.0, 0.0)
    assert lines[0].startswith("as in runs/a: data.unit=byte, ") and "model.cell=multiplicative-lstm" in lines[0]
    assert resolved("zaremba-small", "model.hidden_sizes=[30]", start=start)[0].model.hidden_sizes == (30,)
    assert resolved("mlstm-small", start=started("mlstm-small"))[1] == []
    (line,) = resolved("pos-default", start=started("pos-default", "model.skip_connection=true"))[1]
    assert line == "as in runs/a: model.skip_connection=true"


def test_a_run_is_a_recipe_by_itself():
    start = started("quickstart", "model.hidden_sizes=[24]", "training.epochs=2")
    assert resolve(None, [], RECIPES, start=start) == start.experiment
    assert resolve(None, ["training.epochs=5"], RECIPES, start=start).training.epochs == 5


def test_a_run_of_another_kind_is_refused():
    assert mistake("pos-default", start=started("quickstart")) == (
        "runs/a: is the run of a language model, but the recipe is for a tagger; give another recipe, or none to train "
        "as that run was trained"
    )


def test_a_run_in_place_of_a_recipe(tmp_path):
    (tmp_path / "config.json").touch()
    assert "start from its weights with: refrain train --from" in unknown_recipe(str(tmp_path), RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_what_differs_from_a_recipe_as_toml_gives_all_of_it(name, write):
    words = ["training.epochs=2", "model.hidden_sizes=[12]", "training.max_norm=none", "model.cell=gru"]
    experiment = resolved(name, *words)[0]
    for below in ("quickstart", "zaremba-small-iss", "pos-default", name):
        base = RECIPES[below]()
        if type(base) is type(experiment):
            assert resolved(write("a.toml", toml_beside(experiment, below, base)))[0] == experiment
    assert resolved(write("b.toml", toml_beside(experiment, None, type(experiment)())))[0] == experiment
    assert toml_beside(RECIPES[name](), name, RECIPES[name]()) == f'extends = "{name}"\n'


def test_the_recipe_below_files(write):
    write("grand.toml", 'extends = "quickstart"\n')
    write("deep/mine.toml", 'extends = "../grand.toml"\n')
    alone = write("alone.toml", "[training]\nseed = 3\n")
    assert recipe_below(str(alone.parent / "deep" / "mine.toml"), RECIPES) == "quickstart"
    assert recipe_below("pos-default", RECIPES) == "pos-default"
    assert recipe_below(str(alone), RECIPES) is recipe_below("my own name", RECIPES) is None
    assert resolved(alone)[0] == Experiment().model_copy(
        update={"training": Experiment().training.model_copy(update={"seed": 3})}
    )


@pytest.mark.parametrize("size", ["20percent", "20%%", "many", "7 M B"])
def test_a_size_that_is_no_number_is_refused_with_examples(size):
    with pytest.raises(UserError, match=r"number such as 300k or 7M, or a percentage such as 50% \(got '"):
        resolved("zaremba-medium-iss", f"sparsity.target.layer_multiply_adds={size}")
