"""JSON files of iss-rnns become settings: the five that come with it, worked out by hand, and what cannot be taken."""

import json

import pytest

from refrain.config import resolve
from refrain.config.iss_json import iss_settings, read_iss_json
from refrain.errors import UserError
from refrain.recipes import RECIPES, recipe

CELLS = [f"Model/RNN/multi_rnn_cell/cell_{i}/basic_lstm_cell/weights" for i in range(2)]
LAYERS = tuple(f"stack.layers.{i}.{name}" for i in range(2) for name in ("weight_ih", "weight_hh"))
MODEL = {"cell": {"kind": "lstm"}, "hidden_sizes": (1500, 1500), "tied": False, "head": {"kind": "softmax"}}
TOP = {"save_path": "/tmp", "learning_rate": 1.0, "weight_decay": 0.0, "dropout_keep_prob": 0.6}


def structures(decay):
    return TOP | {
        "grouplasso": {
            "global_decay": decay,
            CELLS[0]: {"structure_decay_multi": 1.0, "coupled_layer": CELLS[1]},
            CELLS[1]: {"structure_decay_multi": 1.0, "coupled_layer": "Model/softmax_w", "couple_split_num": 1},
        }
    }


FILES = {
    "l1.json": TOP | {"weight_decay": 0.0001},
    "structure_grouplasso.json": structures(0.00245),
    "default_parameters.json": structures(0.003),
    "row_col_grouplasso.json": TOP
    | {
        "grouplasso": {
            "global_decay": 0.003,
            CELLS[0]: {"row_decay_multi": 1.0, "col_decay_multi": 1.0},
            CELLS[1]: {"row_decay_multi": 1.0, "col_decay_multi": 1.0},
            "Model/softmax_w": {"row_decay_multi": 1.0, "col_decay_multi": 0.0},
        }
    },
    "block_grouplasso.json": {
        "grouplasso": {
            "global_decay": 0.005,
            CELLS[1]: {
                "block_decay_multi": [1.0, 1.0],
                "block_row_size": [3000, 3000],
                "block_col_size": [3000, 3000],
            },
        }
    },
    "finetuning.json": TOP | {"learning_rate": 0.1},
    "from_scratch.json": TOP | {"dropout_keep_prob": 0.55},
}
# sums over 35 steps there, whatever the loss here; a threshold of 1e-4, or of twice the L1 strength if that is more
UNITS = {
    "sparsity.group_lasso.widths": ("*.hidden",),
    "sparsity.strengths_for": "sum-over-time",
    "sparsity.zeros": "threshold",
    "sparsity.zeros.threshold": 0.0001,
}
WANTED = {
    "l1.json": {
        "training.learning_rate": 1.0,
        "model.dropout": 0.4,
        "sparsity.l1.strength": 0.0001,
        "sparsity.l1.on": ("stack.*", "head.*"),
        "sparsity.strengths_for": "sum-over-time",
        "sparsity.zeros": "threshold",
        "sparsity.zeros.threshold": 0.0002,
    },
    "structure_grouplasso.json": {
        "training.learning_rate": 1.0,
        "model.dropout": 0.4,
        "sparsity.group_lasso.strength": 0.00245,
    }
    | UNITS,
    "default_parameters.json": {
        "training.learning_rate": 1.0,
        "model.dropout": 0.4,
        "sparsity.group_lasso.strength": 0.003,
    }
    | UNITS,
    # the transpose: a row there is what one input gives to all outputs, which is a column here
    "row_col_grouplasso.json": {
        "training.learning_rate": 1.0,
        "model.dropout": 0.4,
        "sparsity.row_lasso.strength": 0.003,
        "sparsity.row_lasso.on": LAYERS,
        "sparsity.column_lasso.strength": 0.003,
        "sparsity.column_lasso.on": (*LAYERS, "head.weight"),
    }
    | {name: value for name, value in UNITS.items() if name != "sparsity.group_lasso.widths"},
    "finetuning.json": {"training.learning_rate": 0.1, "model.dropout": 0.4},
    "from_scratch.json": {"training.learning_rate": 1.0, "model.dropout": 0.45},
}


@pytest.fixture
def write(tmp_path):
    def write(document, name="file.json"):
        text = document if isinstance(document, str) else json.dumps(document)
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return write


@pytest.mark.parametrize("name", WANTED)
def test_the_files_that_come_with_it(name):
    assert iss_settings(FILES[name], MODEL) == (WANTED[name], [])


def test_blocks_are_refused():
    settings, problems = iss_settings(FILES["block_grouplasso.json"], MODEL)
    assert settings == {}
    assert problems == [
        f"grouplasso.{CELLS[1]}.{key}: group lasso on blocks is not supported, in iss-rnns neither"
        for key in ("block_decay_multi", "block_row_size", "block_col_size")
    ]


def lasso(**variables):
    names = {"cell_0": CELLS[0], "cell_1": CELLS[1], "softmax": "Model/softmax_w", "embedding": "Model/embedding"}
    return {"grouplasso": {"global_decay": 0.5} | {names[name]: terms for name, terms in variables.items()}}


@pytest.mark.parametrize(
    ("document", "wanted"),
    [
        (
            lasso(cell_1={"row_decay_multi": 2}, softmax={"row_decay_multi": 2, "col_decay_multi": 1}),
            {
                "row_lasso.strength": 0.5,
                "row_lasso.on": ("head.weight",),
                "column_lasso.strength": 1.0,
                "column_lasso.on": (*LAYERS[2:], "head.weight"),
            },
        ),
        # the embedding is the only matrix that is the same in both
        (lasso(embedding={"row_decay_multi": 1}), {"row_lasso.strength": 0.5, "row_lasso.on": ("embedding.weight",)}),
        (
            lasso(embedding={"col_decay_multi": 1}),
            {"column_lasso.strength": 0.5, "column_lasso.on": ("embedding.weight",)},
        ),
    ],
)
def test_rows_and_columns(document, wanted):
    settings, problems = iss_settings(document, MODEL)
    assert not problems
    assert settings == {f"sparsity.{name}": value for name, value in wanted.items()} | {
        name: value for name, value in UNITS.items() if name != "sparsity.group_lasso.widths"
    }


def test_multipliers_of_layers():
    one = {"structure_decay_multi": 0.25, "coupled_layer": CELLS[1]}
    two = {"structure_decay_multi": 1, "coupled_layer": "Model/softmax_w", "couple_split_num": 1}
    settings, _ = iss_settings(lasso(cell_0=one, cell_1=two), MODEL)
    assert settings["sparsity.group_lasso.multipliers"] == ("layer0.hidden=0.25",)
    assert settings["sparsity.group_lasso.widths"] == ("*.hidden",)
    settings, _ = iss_settings(lasso(cell_0=one | {"structure_decay_multi": 0}, cell_1=two), MODEL)
    assert settings["sparsity.group_lasso.widths"] == ("layer1.hidden",)
    assert "sparsity.group_lasso.multipliers" not in settings


def test_a_threshold_is_twice_the_strength_of_l1_if_that_is_more():
    settings, _ = iss_settings(FILES["structure_grouplasso.json"] | {"weight_decay": 0.001}, MODEL)
    assert settings["sparsity.zeros.threshold"] == 0.002
    settings, _ = iss_settings(FILES["l1.json"] | {"weight_decay": 0.00002}, MODEL)
    assert settings["sparsity.zeros.threshold"] == 0.0001


STRUCTURE = {"structure_decay_multi": 1.0}
LASSO_RULES = [
    (
        lasso(cell_0={"structure_decay": 1}),
        "cell_0/basic_lstm_cell/weights.structure_decay: unknown key; known: str",
    ),
    (lasso(cell_0=STRUCTURE), f"{CELLS[0]}.coupled_layer: the units of this layer are read by {CELLS[1]} (got None)"),
    (
        lasso(cell_0=STRUCTURE | {"coupled_layer": "Model/softmax_w", "couple_split_num": 1}),
        f"{CELLS[0]}.coupled_layer: the units of this layer are read by {CELLS[1]} (got 'Model/softmax_w')",
    ),
    (
        lasso(cell_0=STRUCTURE | {"coupled_layer": CELLS[1], "couple_split_num": 1}),
        f"{CELLS[0]}.couple_split_num: must be 2 with {CELLS[1]} (got 1; 2 if not given)",
    ),
    (
        lasso(cell_1=STRUCTURE | {"coupled_layer": "Model/softmax_w"}),
        f"{CELLS[1]}.couple_split_num: must be 1 with Model/softmax_w (got 2; 2 if not given)",
    ),
    (
        lasso(softmax=STRUCTURE),
        "Model/softmax_w.structure_decay_multi: only a layer has units; the layers are Model/RNN",
    ),
    (lasso(cell_0=[1]), f"grouplasso.{CELLS[0]}: must be an object (got [1])"),
    (lasso(cell_0={"row_decay_multi": "x"}), "row_decay_multi: must be a number of at least 0 (got 'x')"),
    (lasso(cell_0={"row_decay_multi": 0}), "grouplasso: penalises nothing; leave it out, or give numbers greater"),
    (
        lasso(cell_0={"row_decay_multi": 1}, cell_1={"row_decay_multi": 2}),
        "grouplasso: row_decay_multi must be the same wherever it is not 0 (got [1.0, 2.0])",
    ),
    (
        {"grouplasso": {"global_decay": 1, "Model/RNN/cell_0/weights": {"row_decay_multi": 1}}},
        "grouplasso.Model/RNN/cell_0/weights: no matrix of this model; known: Model/RNN/multi_rnn_cell/cell_0",
    ),
    ({"grouplasso": {}}, "grouplasso.global_decay: must be given"),
    ({"grouplasso": {"global_decay": -1}}, "grouplasso.global_decay: must be a number of at least 0 (got -1)"),
    ({"grouplasso": 3}, "grouplasso: must be an object (got 3)"),
    ({"dropout_keep_probability": 0.6}, "dropout_keep_probability: unknown key; known: save_path, learning_rate"),
    ({"dropout_keep_prob": 0}, "dropout_keep_prob: must be greater than 0 and at most 1 (got 0)"),
    ({"dropout_keep_prob": 2}, "dropout_keep_prob: must be greater than 0 and at most 1 (got 2)"),
    ({"save_path": 1}, "save_path: must be text (got 1)"),
    ({"weight_decay": True}, "weight_decay: must be a number of at least 0 (got True)"),
    ({"learning_rate": 10**400}, "learning_rate: must be a number of at least 0 (got 1000"),
]


@pytest.mark.parametrize(("document", "wanted"), LASSO_RULES)
def test_what_cannot_be_taken_is_refused(document, wanted):
    settings, problems = iss_settings(document, MODEL)
    assert any(wanted in problem for problem in problems), problems
    assert not [name for name in settings if name.startswith("sparsity")]


@pytest.mark.parametrize(
    "change", [{"tied": True}, {"cell": {"kind": "gru"}}, {"head": {"kind": "mixture"}}, {"cell": 3}]
)
def test_groups_want_the_model_that_the_names_are_of(change):
    _, (problem,) = iss_settings(FILES["structure_grouplasso.json"], MODEL | change)
    assert "model.cell=lstm model.head=softmax model.tied=false" in problem
    assert iss_settings(FILES["l1.json"], MODEL | change)[1] == []


def test_the_names_follow_the_number_of_layers():
    model = MODEL | {"hidden_sizes": (4, 5, 6)}
    _, problems = iss_settings(FILES["structure_grouplasso.json"], model)
    third = CELLS[1].replace("cell_1", "cell_2")
    assert problems[0] == (
        f"grouplasso.{CELLS[1]}.coupled_layer: the units of this layer are read by {third} (got 'Model/softmax_w')"
    )


def test_comments_and_a_byte_order_mark_are_left_out(write):
    path = write(
        '\ufeff{ # made by hand\n"save_path": "/tmp/#1 \\" # 2", # where\n"learning_rate": 1.0 # the "rate"\n}\n'
    )
    assert read_iss_json(path) == {"save_path": '/tmp/#1 " # 2', "learning_rate": 1.0}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON: "),
        ("[1]", "must hold an object"),
        ('{"weight_decay": 0.1, "weight_decay": 0.2}', "not JSON: 'weight_decay' is given twice"),
        ("[" * 100_000, "is nested too deeply"),
    ],
)
def test_a_file_that_is_none(write, text, said):
    path = write(text)
    with pytest.raises(UserError) as caught:
        read_iss_json(path)
    assert str(caught.value).startswith(f"{path}: {said}")
    with pytest.raises(UserError, match=r"nowhere\.json: No such file"):
        read_iss_json("nowhere.json")


def same_but_for_the_name(one, other):
    return one.model_copy(update={"name": other.name}) == other


def test_the_recipes_are_what_the_files_make_of_each_other(write):
    l1, iss = recipe("zaremba-large-l1"), recipe("zaremba-large-iss")
    assert same_but_for_the_name(recipe(l1.name, iss_json=write(FILES["structure_grouplasso.json"])), iss)
    assert same_but_for_the_name(recipe(iss.name, iss_json=write(FILES["l1.json"])), l1)
    # nothing changes where the file says what the recipe says
    assert recipe(iss.name, iss_json=write(FILES["structure_grouplasso.json"])) == iss
    assert recipe(l1.name, iss_json=write(FILES["l1.json"])) == l1
    heterogeneous = recipe("zaremba-large", "model.hidden_sizes=[373,315]", iss_json=write(FILES["from_scratch.json"]))
    assert same_but_for_the_name(heterogeneous, recipe("zaremba-large-373-315"))


def test_a_file_switches_off_the_penalties_that_it_has_not(write):
    tuned = recipe("zaremba-small-iss", "sparsity.freeze=elements", iss_json=write(FILES["finetuning.json"]))
    assert not tuned.sparsity.penalised() and tuned.sparsity.target is None
    assert (tuned.sparsity.freeze, tuned.training.learning_rate) == ("elements", 0.1)


def test_words_come_after_the_file_and_the_file_after_toml(write):
    mine = write('extends = "zaremba-large"\n[training]\nlearning_rate = 3.0\nepochs = 7\n', "mine.toml")
    found = recipe(mine, "sparsity.l1.strength=0.5", iss_json=write(FILES["l1.json"]))
    assert (found.training.learning_rate, found.training.epochs) == (1.0, 7)
    assert (found.sparsity.l1.strength, found.sparsity.zeros.threshold) == (0.5, 0.0002)


def test_mistakes_are_shown_with_those_of_the_command_line(write):
    path = write(structures(0.1) | {"learning_rate": 0, "regularizer": "l2"})
    with pytest.raises(UserError) as caught:
        resolve("zaremba-small", ["training.epochs=two", "model.hidden_sizes=3"], RECIPES, iss_json=path)
    # with a shape that is none, the names of the file cannot be looked at
    assert len(str(caught.value).splitlines()) == 2
    with pytest.raises(UserError) as caught:
        resolve("zaremba-small", ["training.epochs=two"], RECIPES, iss_json=path)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"{path}: regularizer: unknown key")
    assert f"{path}: training.learning_rate: must be greater than 0.0 (got 0.0)" in lines
    assert len(lines) == 3


@pytest.mark.parametrize("word", ["sparsity=3", "sparsity.l1={a=1}", "model.cell=3", "sparsity.target=1", "model=1"])
def test_settings_of_another_kind_do_not_trip_it(write, word):
    with pytest.raises(UserError):
        recipe("zaremba-small", word, iss_json=write(FILES["structure_grouplasso.json"]))
