"""The cells of a sweep: the same for the same file, all checked before the first is trained."""

import json
import math
import random

import pytest

from refrain.errors import UserError
from refrain.recipes import RECIPES
from refrain.runs.sweeps import space
from refrain.runs.sweeps.plan import Sweep
from refrain.runs.sweeps.space import Range, Space, cells_of, read_space

HEAD = 'extends = "zaremba-small"\ndata.corpus = "python-docs"\n'
GRID = "[sweep.space]\nmodel.dropout = [0.0, 0.2]\nmodel.hidden_sizes = [[8], [8, 8]]\n"


@pytest.fixture
def sweep_of(write):
    return lambda text, head=HEAD: Sweep(write("sweep.toml", head + text), RECIPES)


@pytest.fixture
def mistakes(sweep_of):
    def found(text, head=HEAD):
        with pytest.raises(UserError) as raised:
            sweep_of(text, head)
        return list(raised.value.mistakes)

    return found


def test_a_grid_has_every_combination_and_seeds_vary_slowest(sweep_of):
    sweep = sweep_of(f"[sweep]\nseeds = [3, 1]\n{GRID}")
    cells = [sweep.cell(number) for number in range(1, sweep.number + 1)]
    settings = [tuple(cell.settings.values()) for cell in cells]
    each = [(0.0, [8]), (0.0, [8, 8]), (0.2, [8]), (0.2, [8, 8])]
    assert settings == [(*one, seed) for seed in (3, 1) for one in each]
    last = cells[-1].experiment
    assert (last.model.dropout, last.model.hidden_sizes, last.training.seed) == (0.2, (8, 8), 1)
    # what follows a setting of the recipe follows it in a cell
    assert sweep.resolved({"model.hidden_sizes": [8]}) == cells[0].experiment.model_copy(
        update={"training": sweep.base.training}
    )


def test_seeds_may_be_in_the_space(sweep_of):
    one, other = sweep_of(f"[sweep]\nseeds = [1, 2]\n{GRID}"), sweep_of(f"{GRID}training.seed = [1, 2]\n")
    assert one.number == other.number == 8 and one.sha256 == other.sha256
    assert [one.cell(n) for n in range(1, 9)] == [other.cell(n) for n in range(1, 9)]
    alone = sweep_of("[sweep]\nseeds = [1, 2]\n")
    assert [alone.cell(number).settings for number in (1, 2)] == [{"training.seed": 1}, {"training.seed": 2}]


def test_more_seeds_change_no_cell(sweep_of):
    two, five = (sweep_of(f"[sweep]\nseeds = {seeds}\n{GRID}") for seeds in ([1, 2], [1, 2, 3, 4, 5]))
    assert two.sha256 == five.sha256 and five.number == 20
    assert [two.cell(n) for n in range(1, 9)] == [five.cell(n) for n in range(1, 9)]


def test_draws_are_decided_by_the_file(sweep_of):
    text = '[sweep]\nmethod = "random"\ncells = 20\nseed = {}\n[sweep.space]\n'
    text += "training.learning_rate = {{ low = 0.01, high = 10, log = true }}\n"
    one, same, other = (sweep_of(text.format(seed)) for seed in (1, 1, 2))
    drawn = [one.cell(n).settings["training.learning_rate"] for n in range(1, 21)]
    assert drawn == [same.cell(n).settings["training.learning_rate"] for n in range(1, 21)]
    assert one.sha256 == same.sha256 != other.sha256
    assert len(set(drawn)) == 20 and all(0.01 <= value <= 10 for value in drawn)
    # on the scale of logarithms half of the draws are below the geometric mean
    assert 4 < sum(value < math.sqrt(0.1) for value in drawn) < 16


def test_whole_numbers_reach_both_ends():
    values = {"x": Range(1, 3), "y": Range(1, 8, log=True), "z": ["a", "b"]}
    found = cells_of(Space("random", values, cells=40, seed=5))
    assert {cell["x"] for cell in found} == {1, 2, 3} and {cell["y"] for cell in found} >= {1, 2, 8}
    assert {cell["z"] for cell in found} == {"a", "b"}
    assert len({repr(cell) for cell in found}) == 40
    # the same file gives the same cells for ever, as `Random.random` gives the same numbers
    draw = random.Random(5)
    first = {"x": 1 + int(3 * draw.random()), "y": round(8 ** draw.random()), "z": "ab"[int(2 * draw.random())]}
    assert found[0] == first


def test_cells_that_cannot_be_found_are_not_drawn(monkeypatch):
    monkeypatch.setattr(space, "_drawn", lambda values, draw: 1 / 0)
    values = {"x": Range(1, 20), "y": Range(1, 10, log=True), "z": ["a", "b"]}
    with pytest.raises(UserError, match="there are only 400 different cells; give fewer cells or wider ranges"):
        cells_of(Space("random", values, cells=401))


def test_the_table_is_not_a_setting_of_the_recipe(sweep_of):
    sweep = sweep_of(f"{GRID}")
    assert sweep.base.model.dropout == RECIPES["zaremba-small"]().model.dropout
    assert "sweep" not in sweep.recipe_text(sweep.cell(4).experiment)
    assert 'extends = "zaremba-small"' in sweep.recipe_text(sweep.cell(4).experiment)


def test_every_mistake_of_every_cell_is_named_before_anything_is_trained(mistakes):
    found = mistakes("[sweep.space]\nmodel.dropout = [0.1, 1.5, -1]\nmodel.hiden_sizes = [[8]]\n")
    assert len(found) == 3 and all("sweep.toml: sweep.space: " in line for line in found)
    assert "model.hiden_sizes: unknown key; did you mean 'hidden_sizes'?" in "".join(found)
    assert "(got 1.5)" in "".join(found) and "(got -1)" in "".join(found)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "the table [sweep] is missing"),
        ("[sweep]\n", "sweep.space: is empty"),
        ("[sweep]\nseeds = [1]\n[sweep.space]\n", "sweep.space: is empty"),
        ("[sweep.space]\nmodel.dropout = []\n", "sweep.toml:4: sweep.space.model.dropout: the list is empty"),
        ('[sweep.space]\ndata.unit = ["word", "byte"]\n', "so that perplexity cannot tell the best cell; make a"),
        ("[sweep.space]\nmodel.dropout = 0.5\n", "must be a list of values, or a range"),
        ("[sweep.space]\nmodel.dropout = { low = 0.1, high = 0.5 }\n", 'a range needs method = "random"'),
        ('[sweep]\nmetod = "grid"\n' + GRID, "sweep.toml:4: sweep.metod: unknown key; did you mean 'method'?"),
        ('[sweep]\nmethod = "gird"\n' + GRID, "must be one of grid, random, optuna (got 'gird'); did you mean 'grid'?"),
        ('[sweep]\nmethod = "random"\n' + GRID, "sweep.cells: is missing"),
        ('[sweep]\nmethod = "random"\ncells = 5\n' + GRID, "there are only 4 different cells"),
        ('[sweep]\nmethod = "random"\ncells = 3000\n[sweep.space]\ntraining.batch_size = { low = 1, high = 20 }\n'
         "training.epochs = { low = 1, high = 20, log = true }\n", "there are only 400 different cells; give"),
        ("[sweep]\ncells = 3\n" + GRID, 'cannot take effect with method = "grid"'),
        ('[sweep]\nmethod = "random"\ncells = 1.5\n' + GRID, "must be a whole number"),
        ("[sweep]\nseeds = 3\n" + GRID, "must be a list of whole numbers"),
        (f"[sweep]\nseeds = [{2**63}]\n" + GRID, "must be a list of whole numbers less than 2**63"),
        ('[sweep]\nmethod = "random"\ncells = 1' + "0" * 400 + "\n" + GRID, "sweep.cells: must be a whole number"),
        ("[sweep]\nseeds = [1]\n" + GRID + "training.seed = [2]\n", "is also training.seed of the space"),
        ("[sweep]\nminutes = -1\n" + GRID, "must be a number, at least 0 (got -1)"),
        ('[sweep]\npruner = "median"\n' + GRID, "cannot take effect"),
        ('[sweep]\nmethod = "optuna"\ncells = 3\nseeds = [1, 2]\n' + GRID, "optuna tries each setting once"),
        ("[sweep.space]\nmodel.dropout = [" + ", ".join(f"{n / 20000}" for n in range(10001)) + "]\n", "the grid has"),
    ],
)  # fmt: skip
def test_mistakes_of_the_table(mistakes, text, part):
    (line,) = mistakes(text)
    assert "sweep.toml" in line and part in line


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ("low = 1", "needs the numbers low and high"),
        ("low = 2, high = 1", "low must be less than high"),
        ("low = 0, high = 1, log = true", "low must be greater than 0"),
        ("low = 1, high = 2, log = 1", "log must be true or false"),
        ("low = 1, high = 2, step = 1", "'step' is not known of a range"),
        ("low = 0, high = 1" + "0" * 400, "needs the numbers low and high"),
        ("low = nan, high = 2", "needs the numbers low and high"),
    ],
)
def test_mistakes_of_ranges(mistakes, given, part):
    (line,) = mistakes(f'[sweep]\nmethod = "random"\ncells = 2\n[sweep.space]\nmodel.dropout = {{ {given} }}\n')
    assert "sweep.toml:7: sweep.space.model.dropout: " in line and part in line


def test_what_changes_the_text_of_a_perplexity_does_not_vary(sweep_of, write):
    space = (
        "[sweep.space]\ndata.max_words = [5, 40]\nmodel.dropout = [0.1]\ntraining.validation = ['exact', 'zaremba']\n"
    )
    sweep = sweep_of(space)
    # results of an earlier version can be looked at
    assert sweep.number == 4
    with pytest.raises(UserError) as raised:
        sweep.check_comparable()
    first, second = raised.value.mistakes
    assert (
        f"{sweep.path}:4: sweep.space.data.max_words: changes the text or the words whose perplexity is compared"
        in first
    )
    assert "sweep.space.training.validation: " in second
    sweep_of("[sweep.space]\ndata.max_words = [40]\nmodel.dropout = [0.1, 0.2]\n").check_comparable()


def test_what_is_counted_of_a_tagger_does_not_vary(write):
    def tagger(space):
        head = 'extends = "pos-default"\ndata.corpus = "corpus"\n[sweep.space]\n'
        return Sweep(write("tagger.toml", head + space), RECIPES)

    # tags are counted the same, whatever words are known
    tagger('data.min_count = [1, 2]\ndata.column = ["xpos"]\n').check_comparable()
    varied = {
        "data.corpus": ["a", "b"], "data.split": [[0.8, 0.1], [0.7, 0.2]], "data.column": ["upos", "xpos"],
        "data.underscore": ["value", "missing"], "data.skip_bad": [True, False], "training.best_by": ["accuracy", "f1"],
    }  # fmt: skip
    for name, values in varied.items():
        sweep = tagger(f"{name} = {json.dumps(values)}\n")
        with pytest.raises(UserError) as raised:
            sweep.check_comparable()
        (line,) = raised.value.mistakes
        assert line.startswith(f"{sweep.path}:4: sweep.space.{name}: changes which accuracy is compared, so that it")
    sweep = tagger("data.folds = [5]\ndata.fold = [1, 2]\n")
    with pytest.raises(UserError, match=r"toml:5: sweep\.space\.data\.fold: changes which accuracy"):
        sweep.check_comparable()


def test_equal_values_in_two_spellings_are_one_cell(sweep_of):
    sweep = sweep_of("[sweep.space]\ntraining.learning_rate = [1, 2.0, 1.0, 2]\n")
    assert [cell.experiment.training.learning_rate for cell in map(sweep.cell, range(1, sweep.number + 1))] == [1, 2]


def test_a_recipe_is_needed(mistakes):
    assert "extends: is missing" in mistakes(GRID, head="")[0]


def test_the_ends_of_ranges_are_checked_where_optuna_will_draw(mistakes, sweep_of):
    text = '[sweep]\nmethod = "optuna"\ncells = 4\n[sweep.space]\nmodel.dropout = {{ low = 0.1, high = {} }}\n'
    assert "must be less than 1.0 (got 1.5)" in mistakes(text.format(1.5))[0]
    assert sweep_of(text.format(0.5)).number == 4
    assert read_space(sweep_of(text.format(0.5)).path).values == {"model.dropout": Range(0.1, 0.5)}
