"""Settings from recipe, file and command line: merged in order, every mistake shown at once with its origin."""

import json
from typing import get_args

import pytest

from refrain.config import Data, Experiment, ExponentialSchedule, Model, Training, resolve, setting_names
from refrain.config.experiment import Protocol
from refrain.config.loader import value_of
from refrain.errors import UserError
from refrain.evaluation import perplexity
from refrain.recipes import RECIPES


def base():
    return Experiment(
        name="base",
        model=Model(embedding_size=10, hidden_sizes=(20, 30)),
        training=Training(epochs=7, schedule=ExponentialSchedule(hold_epochs=2, decay=0.5)),
    )


KNOWN = {"base": base, "other-base": Experiment}


def mistakes(source, *words, corpus=None):
    """The lines of the error, sorted."""
    with pytest.raises(UserError) as caught:
        resolve(str(source), words, KNOWN, corpus=corpus)
    assert caught.value.exit_status == 2
    return sorted(str(caught.value).splitlines())


def test_settings_come_from_the_nearest_layer(write):
    write("grand.toml", 'extends = "base"\n[training]\nepochs = 8\nbatch_size = 8\nwindow_steps = 8\n')
    write("deep/parent.toml", 'extends = "../grand.toml"\n[training]\nbatch_size = 9\nwindow_steps = 9\n')
    mine = write("mine.toml", 'extends = "deep/parent.toml"\nname = "mine"\n[training]\nwindow_steps = 10\n')
    found = resolve(str(mine), ["training.windows.tail=keep"], KNOWN)
    wanted = base().model_dump()
    wanted["name"] = "mine"
    wanted["training"] |= {"epochs": 8, "batch_size": 9, "window_steps": 10}
    wanted["training"]["windows"]["tail"] = "keep"
    assert found == Experiment.model_validate(wanted)


def test_a_file_without_a_parent_starts_from_the_defaults(write):
    assert resolve(str(write("mine.toml", "[training]\nseed = 3\n")), [], KNOWN) == Experiment(
        training=Training(seed=3)
    )


@pytest.mark.parametrize("task", ["tager", "language-model", 3])
def test_a_file_of_an_unknown_task_is_refused(write, task):
    mine = write("mine.toml", f"name = 'mine'\ntask = {json.dumps(task)}\n[data]\ncolumn = 'xpos'\n")
    wanted = f"{mine}:2: task: must be 'tagger', or left out for a language model (got {task!r})"
    assert mistakes(mine) == [wanted]
    write("mine.toml", 'task = "tagger"\n[data]\ncolumn = "xpos"\n')
    assert resolve(str(mine), [], KNOWN).data.column == "xpos"


def test_a_word_beats_the_file_and_data_beats_the_word(write):
    mine = write("mine.toml", '[data]\ncorpus = "file"\nmin_count = 2\n')
    assert resolve(str(mine), ["data.corpus=word"], KNOWN).data.corpus == "word"
    found = resolve(str(mine), ["data.corpus=word"], KNOWN, corpus="flag")
    assert found.data == Data(corpus="flag", min_count=2)


def test_the_last_of_two_words_counts():
    assert resolve("base", ["training.epochs=2", "training.epochs=3"], KNOWN).training.epochs == 3


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_json(name):
    experiment = RECIPES[name]()
    again = type(experiment).model_validate(json.loads(json.dumps(experiment.model_dump(mode="json"))))
    assert again == experiment


def test_a_resolved_experiment_survives_json(write):
    mine = write(
        "mine.toml", "[model]\nhidden_sizes = [3, 4, 5]\nembedding_dropout = 0.25\n[training]\nmax_norm = 0.1\n"
    )
    experiment = resolve(str(mine), ["data.max_words=17", "training.seed=9223372036854775807"], KNOWN)
    text = json.dumps(experiment.model_dump(mode="json"))
    assert Experiment.model_validate(json.loads(text)) == experiment
    assert Experiment.model_validate_json(text) == experiment


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-3", 0.001),
        ("true", True),
        ("[1, 2]", [1, 2]),
        ('"3"', "3"),
        ("a/b c", "a/b c"),
        ("", ""),
        ("none", None),
        ("3 4", "3 4"),
        ("[", "["),
        ("9" * 5000, "9" * 5000),
        ("[" * 5000, "[" * 5000),
    ],
)
def test_values_on_the_command_line_are_toml_or_text(text, value):
    assert value_of(text) == value


def test_every_mistake_is_shown_at_once_with_its_origin(write):
    parent = write("parent.toml", 'extends = "base"\n\n[model]\ndropout = 1.7\n')
    mine = write(
        "mine.toml", 'extends = "parent.toml"\n[model]\nhiden_sizes = [3]\n[training]\nschedule.kind = "step"\n'
    )
    assert mistakes(mine, "training.epochs=two", "epochs", corpus=5) == sorted(
        [
            f"{parent}:4: model.dropout: must be less than 1.0 (got 1.7)",
            f"{mine}:3: model.hiden_sizes: unknown key; did you mean 'hidden_sizes'?",
            f"{mine}:5: training.schedule: must be 'constant', 'exponential', 'linear', 'cosine' or 'plateau' "
            "(got 'step')",
            "command line: training.epochs: must be a whole number (got 'two')",
            "command line: 'epochs' is not a setting; write name=value, as in training.epochs=3",
            "--data: data.corpus: must be text (got 5)",
        ]
    )


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("training.epochs=0", "must be at least 1 (got 0)"),
        ("training.epochs=-3", "must be at least 1 (got -3)"),
        ("training.epochs=1.5", "must be a whole number (got 1.5)"),
        ("training.epochs=true", "must be a number (got True)"),
        ("training.epochs=none", "must be a whole number (got none)"),
        ("training.epochs=[1]", "must be a whole number (got [1])"),
        ("training.batch_size=2147483648", "must be less than 2147483648 (got 2147483648)"),
        ("training.learning_rate=0", "must be greater than 0.0 (got 0)"),
        ("training.learning_rate=nan", "must be finite (got nan)"),
        ("training.learning_rate=inf", "must be finite (got inf)"),
        ("training.learning_rate=fast", "must be a number (got 'fast')"),
        ("training.weight_decay=-1e-9", "must be at least 0.0 (got -1e-09)"),
        ("training.seed=9223372036854775808", "must be less than 9223372036854775808 (got 9223372036854775808)"),
        ("training.tensorboard=maybe", "must be true or false (got 'maybe')"),
        ("training.schedule.decay=1.01", "must be less than 1.0 (got 1.01)"),
        ("model.dropout=1", "must be less than 1.0 (got 1)"),
        ("model.embedding_size=1000001", "must be at most 1000000 (got 1000001)"),
        ("training.windows.tail=maybe", "must be 'drop' or 'keep' (got 'maybe')"),
        ("data.max_words=1", "must be at least 2 (got 1)"),
        ("data.order=shuffled", "must be 'descending', 'ascending', 'first-seen' or 'random' (got 'shuffled')"),
        ("model.hidden_sizes=200", "must be a list, as in [200,200] (got 200)"),
    ],
)
def test_a_value_out_of_range(word, wanted):
    name = word.partition("=")[0]
    assert mistakes("base", word) == [f"command line: {name}: {wanted}"]


def test_text_may_look_like_a_number_on_the_command_line_alone(write):
    for word, text in (("name=3", "3"), ('name="3"', "3"), ("name=2024.50", "2024.50"), ("name=true", "true")):
        assert resolve("base", [word], KNOWN).name == text
    assert resolve("base", ["data.vocabulary=none"], KNOWN).data.vocabulary is None
    assert mistakes("base", {"name": 3}) == ["command line: name: must be text (got 3)"]
    assert "name: must be text (got 3)" in mistakes(write("own.toml", 'extends = "base"\nname = 3\n'))[0]


@pytest.mark.parametrize("text", ["3 # five", "3\nfoo = 4", "3,", "3]", "3]#", "3]\n#", "[1, 2] # x", "1\n[data]"])
def test_what_follows_a_value_is_part_of_it(text):
    assert value_of(text) == text
    assert value_of("[1,\n 2]") == [1, 2] and value_of("{a = 1}") == {"a": 1}


def test_a_list_of_names_needs_quotes():
    assert mistakes("base", "sparsity.l1.strength=1", "sparsity.l1.on=[*]") == [
        """command line: sparsity.l1.on: must be a list of texts in quotes, as in ["first","second"] (got '[*]')"""
    ]


def test_a_missing_setting_of_a_group_is_the_mistake_of_who_began_the_group():
    assert mistakes("base", 'sparsity.l1.on=["x"]') == ["command line: sparsity.l1.strength: must be given"]


def test_a_list_says_which_setting_it_is():
    assert mistakes("base", "model.hidden_sizes=[]") == ["command line: model.hidden_sizes: must not be empty (got [])"]
    assert mistakes("base", "model.hidden_sizes=[3,0]") == [
        "command line: model.hidden_sizes: must be at least 1 (got 0)"
    ]


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("training.epoch=3", "did you mean 'epochs'?"),
        ("modle.dropout=0.5", "did you mean 'model.dropout'?"),
        ("epochs=3", "did you mean 'training.epochs'?"),
        ("training.schedule.decai=3", "did you mean 'decay'?"),
        ("training.schedule.xyz=3", "known here: training.schedule.decay, training.schedule.hold_epochs, "),
        ("xyz=3", "known here: name, data, model, training"),
        (
            "sparsity.target=3",
            "it is a group of settings: parameters, multiply_adds, layer_multiply_adds, bytes, reached",
        ),
        ("model=3", "it is a group of settings: embedding_size, hidden_sizes"),
        ("training.epochs.more=3", "did you mean 'training.epochs'?"),
        ("training.dropout=0.3", "did you mean 'model.dropout'?"),
        ("=3", "known here: "),
        (".=3", "known here: "),
    ],
)
def test_an_unknown_name_lists_the_nearest_or_the_known(word, hint):
    (line,) = mistakes("base", word)
    assert line.startswith(f"command line: {word.partition('=')[0]}: unknown key; {hint}")


def test_only_the_names_of_one_group_are_listed():
    assert mistakes("base", "foo.bar=3") == [
        "command line: foo.bar: unknown key; known here: name, data, model, training, sparsity"
    ]
    assert mistakes("base", "sparsity=none") == [
        "command line: sparsity: unknown key; it is a group of settings: l1, group_lasso, row_lasso, column_lasso, "
        "strengths_for, zeros, freeze, prune, target"
    ]


@pytest.mark.parametrize(
    ("text", "line", "name"),
    [
        ("\n\n[modle]\n", 3, "modle"),
        ("[model.deep]\n", 1, "model.deep"),
        ("[[training]]\nepochs = 3\n", 1, "training"),
        ("training = {epoch = 3}\n", 1, "training.epoch"),
        ("# a comment\u2028with a separator\n[training]\nschedule = {knd = 3}", 3, "training.schedule.knd"),
        ('"quoted key" = 3', "?", "quoted key"),
    ],
)
def test_an_unknown_name_in_a_file_has_its_line(write, text, line, name):
    mine = write("mine.toml", text)
    (found,) = mistakes(mine)
    assert found.startswith(f"{mine}:{line}: {name}: unknown key; ")


RULES = [
    (["model.tied=true"], "model.tied: needs embedding_size equal to the last of hidden_sizes (got 10 and 30)"),
    (["model.init=uniform"], "model.init.scale: must be given where model.init is 'uniform'"),
    (
        ["model.init.scale=0.1"],
        "model.init.scale: init 'standard' has no such setting; it belongs to 'uniform' (model.init=uniform)",
    ),
    (
        ["model.hidden_sizes=[5]", "model.between_dropout=0.1"],
        "model.between_dropout: cannot take effect with a single layer",
    ),
    (
        [
            "model.dropout=0.1",
            "model.embedding_dropout=0.2",
            "model.between_dropout=0.2",
            "model.output_dropout=0.0",
        ],
        "model.dropout: cannot take effect where every place has a rate of its own; set it to 0",
    ),
    (
        [
            "model.hidden_sizes=[5]",
            "model.dropout=0.1",
            "model.embedding_dropout=0.2",
            "model.output_dropout=0.2",
        ],
        "model.dropout: cannot take effect where every place has a rate of its own; set it to 0",
    ),
    (["training.schedule.decay=1"], "training.schedule.decay: must be less than 1.0 (got 1)"),
    (["training.schedule=plateau"], "training.schedule.decay: must be given where training.schedule is 'plateau'"),
    (
        ["training.optimizer=asgd", "sparsity.prune.share=0.5"],
        "training.optimizer: 'asgd' averages from the first step, over weights that are not zero yet; 'nt-asgd' waits "
        "until sparsity.target or sparsity.prune is reached",
    ),
    (
        ["training.optimizer=asgd", "sparsity.group_lasso.strength=0.1", "sparsity.target.parameters=7M"],
        "training.optimizer: 'asgd' averages from the first step, over weights that are not zero yet; 'nt-asgd' waits "
        "until sparsity.target or sparsity.prune is reached",
    ),
    (
        ["data.unit=byte", "data.min_count=2", "data.max_words=9"],
        "data.max_words, min_count: cannot take effect with unit 'byte'; back to the default with data.max_words=none "
        "data.min_count=1",
    ),
    (
        ["data.unit=byte", "data.errors=replace"],
        "data.errors: cannot take effect with unit 'byte'; back to the default with data.errors=strict",
    ),
    (
        ["data.cleaning=reviews"],
        "data.cleaning: cannot take effect with unit 'word'; back to the default with data.cleaning=none",
    ),
    (["data.split=[0.9,0.2]"], "data.split: train and valid are more than the whole (got [0.9, 0.2])"),
    (["data.split=[0.9]"], "data.split: must be two numbers, as in [0.9,0.05] (got [0.9])"),
    (["data.split=[0.8,0.1,0.1]"], "data.split: must be two numbers, as in [0.9,0.05] (got [0.8, 0.1, 0.1])"),
]


@pytest.mark.parametrize(("words", "wanted"), RULES)
def test_a_setting_that_cannot_take_effect_is_a_mistake(words, wanted):
    assert mistakes("base", *words) == [f"command line: {wanted}"]


def test_none_is_a_choice_where_a_setting_names_it(write):
    mine = write("mine.toml", "[data]\nunit = 'byte'\ncleaning = 'none'\nmax_words = 'none'\n")
    assert (resolve(str(mine), [], KNOWN).data.cleaning, resolve(str(mine), [], KNOWN).data.max_words) == ("none", None)
    assert resolve(str(mine), ["data.cleaning=reviews"], KNOWN).data.cleaning == "reviews"
    assert resolve("base", ["data.cleaning=none"], KNOWN).data.cleaning == "none"


def test_a_rule_names_who_broke_it(write):
    # dropout is innocent, the word that widened the layer is not
    mine = write("mine.toml", "[model]\nembedding_size = 5\nhidden_sizes = [5]\ntied = true\ndropout = 0.1\n")
    assert resolve(str(mine), [], KNOWN).model.tied
    assert mistakes(mine, "model.cell=lstm", "model.hidden_sizes=[6]", "model.embedding_size=5") == [
        f"{mine}:4: model.tied: needs embedding_size equal to the last of hidden_sizes (got 5 and 6)"
    ]
    other = write("other.toml", 'extends = "tied"\n[model]\ndropout = 0.1\n')
    tied = {"tied": lambda: Experiment(model=Model(embedding_size=5, hidden_sizes=(5,), tied=True))}
    with pytest.raises(UserError, match=r"^command line: model.tied: needs"):
        resolve(str(other), ["model.hidden_sizes=[6]", "model.embedding_size=5", "model.cell=lstm"], tied)


def test_rules_of_several_groups_are_shown_together():
    assert mistakes("base", "model.tied=true", "training.stop_window=9", "data.min_count=0") == [
        "command line: data.min_count: must be at least 1 (got 0)",
        "command line: model.tied: needs embedding_size equal to the last of hidden_sizes (got 10 and 30)",
        "command line: training.stop_window: 9 looks further back than the run's 7 epochs go; give a smaller one or "
        "none",
    ]


def test_an_unknown_recipe_lists_the_known_and_suggests_the_nearest():
    assert mistakes("bsae") == ["unknown recipe 'bsae'; did you mean 'base'?"]
    assert mistakes("zzz") == ["unknown recipe 'zzz'; known: base, other-base"]


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"[training\n", "Expected ']'"),
        (b"epochs\n", ":1: "),
        (b"a = 1\na = 2\n", ":2: "),
        (b"[model]\nhead = 'mixture'\n[model.head]\ncomponents = 3\n", "one table, such as [model.head] with kind"),
        (b"[model]\nhead = mixture\n", ":2: Invalid value in column 8; text needs quotes, as in head"),
        (b"name = '\xff'\n", "not UTF-8 at byte 8"),
        (b"extends = 3\n", "extends: must be the name of a recipe or file (got 3)"),
        (b"extends = 'bas'\n", "extends: unknown recipe 'bas'; did you mean 'base'?"),
        (b"extends = 'mine.toml'\n", "extends this file in its turn"),
        (b"extends = 'gone.toml'\n", "gone.toml: No such file or directory"),
        (b"training.epochs = " + b"9" * 5000, "Exceeds the limit"),
        (b"training.epochs = " + b"[" * 5000, "nested too deeply"),
    ],
)
def test_a_file_that_cannot_be_read(write, content, wanted):
    mine = write("mine.toml", content)
    (line,) = mistakes(mine)
    assert line.startswith(str(mine.parent))
    assert wanted in line


def test_a_missing_file_and_a_folder(tmp_path):
    remedy = "check the path, or choose a recipe from: refrain recipes"
    assert mistakes(tmp_path / "gone.toml") == [f"{tmp_path}/gone.toml: No such file or directory; {remedy}"]
    (tmp_path / "folder.toml").mkdir()
    remedy = "give a file of settings that can be read"
    assert mistakes(tmp_path / "folder.toml") == [f"{tmp_path}/folder.toml: is a folder, not a file; {remedy}"]


def test_files_that_extend_each_other_in_a_circle(write):
    a = write("a.toml", "extends = 'b.toml'\n")
    b = write("b.toml", "extends = 'c.toml'\n")
    c = write("c.toml", "extends = 'a.toml'\n")
    assert mistakes(a) == [f"{c}: extends: {a} extends this file in its turn"]
    assert mistakes(b) == [f"{a}: extends: {b} extends this file in its turn"]


def test_a_byte_order_mark_before_a_file_is_no_part_of_it(write):
    mine = write("mine.toml", b"\xef\xbb\xbf[training]\r\nseed = 3\r\n")
    assert resolve(str(mine), [], KNOWN).training.seed == 3


def test_setting_names_are_all_that_can_be_set_in_order():
    names = setting_names()
    assert names[0] == "name" and len(names) == len(set(names))
    assert {"data.corpus", "model.hidden_sizes", "training.schedule", "training.schedule.decay"} <= set(names)
    assert {"sparsity.l1", "sparsity.l1.strength", "model.cell.plan", "model.cell.plan.blocks"} <= set(names)
    assert not {"data", "model", "training", "sparsity", "training.schedule.kind"} & set(names)
    assert setting_names(ExponentialSchedule, "x.") == ["x.decay", "x.hold_epochs", "x.step_epochs"]


def test_the_protocols_of_settings_are_those_of_evaluation():
    assert get_args(Protocol) == get_args(perplexity.Protocol)
