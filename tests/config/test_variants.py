"""Variants of a group of settings: how they are chosen and merged, and the errors for fields that they do not have."""

import pytest

from refrain.config import (
    Experiment,
    ExponentialSchedule,
    FractionPlan,
    GroupLasso,
    Mixture,
    Model,
    PlateauSchedule,
    Softmax,
    SparseLSTMCell,
    Sparsity,
    TaggerExperiment,
    Training,
    UniformPlan,
    resolve,
)
from refrain.config.renamed import NAMES, NAMES_WITH_VALUES, VALUES
from refrain.config.schema import as_set, as_toml, differences, fields_named, flatten
from refrain.errors import UserError


def mixed():
    return Experiment(
        model=Model(head=Mixture(components=7, latent_dropout=0.2)),
        training=Training(schedule=ExponentialSchedule(decay=0.5, hold_epochs=3)),
        sparsity=Sparsity(group_lasso=GroupLasso(strength=0.1, widths=("*.hidden",))),
    )


KNOWN = {"plain": Experiment, "mixed": mixed, "tagger": TaggerExperiment}


def mistakes(source, *words):
    """The lines of the error, sorted."""
    with pytest.raises(UserError) as caught:
        resolve(str(source), words, KNOWN)
    return sorted(str(caught.value).splitlines())


def head(source, *words):
    return resolve(str(source), words, KNOWN).model.head


@pytest.mark.parametrize(
    "words",
    [
        ["model.head=mixture", "model.head.components=15"],
        ["model.head.components=15", "model.head=mixture"],
        ["model.head.kind=mixture", "model.head.components=15"],
        ['model.head={kind="mixture", components=15}'],
    ],
)
def test_a_variant_is_chosen_by_its_name_in_any_order(words):
    assert head("plain", *words) == Mixture(components=15)


@pytest.mark.parametrize(
    "text",
    [
        '[model]\nhead = {kind = "mixture", components = 15}\n',
        '[model.head]\nkind = "mixture"\ncomponents = 15\n',
        'model.head.kind = "mixture"\nmodel.head.components = 15\n',
    ],
)
def test_a_variant_is_chosen_in_a_file(write, text):
    assert head(write("mine.toml", text)) == Mixture(components=15)


def test_the_name_alone_stands_for_a_variant_with_its_defaults(write):
    mine = write("mine.toml", '[model]\nhead = "softmax"\ncell = "gru"\n')
    found = resolve(str(mine), [], KNOWN).model
    assert (found.head.kind, found.cell.kind) == ("softmax", "gru")
    assert Model(cell="gru") == found.model_copy(update={"head": Softmax()})


def test_a_field_keeps_the_variant_and_its_other_fields():
    assert head("mixed", "model.head.components=9") == Mixture(components=9, latent_dropout=0.2)
    assert head("mixed", "model.head=mixture", "model.head.components=9").latent_dropout == 0.2


def test_another_variant_begins_with_its_own_defaults():
    assert head("mixed", "model.head=softmax") == Softmax()
    found = resolve("mixed", ["training.schedule=plateau", "training.schedule.decay=0.9"], KNOWN)
    assert found.training.schedule == PlateauSchedule(decay=0.9)


def test_a_nearer_layer_that_changes_the_variant_drops_the_fields_of_the_layers_below(write):
    parent = write("parent.toml", '[model.head]\nkind = "mixture"\ncomponents = 5\nlatent_dropout = 0.1\n')
    child = write("child.toml", f'extends = "{parent}"\n[model]\nhead = "softmax"\n')
    assert head(child) == Softmax()
    # chosen once more, it does not get them back
    assert head(child, "model.head=mixture", "model.head.components=3") == Mixture(components=3)
    again = write("again.toml", f'extends = "{parent}"\n[model]\nhead.components = 6\n')
    assert head(again) == Mixture(components=6, latent_dropout=0.1)
    same = write("same.toml", f'extends = "{parent}"\n[model]\nhead = "mixture"\n')
    assert head(same) == Mixture(components=5, latent_dropout=0.1)


def test_a_variant_inside_a_variant(write):
    words = ["model.cell=sparse-lstm", "model.cell.plan=uniform", "model.cell.plan.blocks=4"]
    found = resolve("plain", [*words, "model.cell.plan.density=0.5"], KNOWN)
    assert found.model.cell == SparseLSTMCell(plan=UniformPlan(blocks=4, density=0.5))
    text = '[model.cell]\nkind = "sparse-lstm"\nplan = {kind = "uniform", blocks = 4, density = 0.5}\n'
    mine = write("mine.toml", text)
    assert resolve(str(mine), [], KNOWN) == found
    changed = resolve(str(mine), ["model.cell.plan=fraction", "model.cell.plan.fraction=0.3"], KNOWN)
    assert changed.model.cell.plan == FractionPlan(fraction=0.3)
    assert resolve(str(mine), ["model.cell=lstm"], KNOWN).model.cell.kind == "lstm"


def test_a_group_that_can_be_absent(write):
    assert resolve("plain", ["sparsity.group_lasso.strength=0.5"], KNOWN).sparsity.group_lasso == GroupLasso(
        strength=0.5
    )
    stronger = resolve("mixed", ["sparsity.group_lasso.strength=0.5"], KNOWN).sparsity.group_lasso
    assert stronger == GroupLasso(strength=0.5, widths=("*.hidden",))
    off = write("off.toml", 'extends = "mixed"\n[sparsity]\ngroup_lasso = "none"\n')
    assert resolve(str(off), [], KNOWN).sparsity.group_lasso is None
    assert resolve("mixed", ["sparsity.group_lasso=none"], KNOWN).sparsity.group_lasso is None
    # opened once more, it begins with its own defaults
    again = resolve(str(off), ["sparsity.group_lasso.strength=0.5"], KNOWN).sparsity.group_lasso
    assert again == GroupLasso(strength=0.5)


HEADS = "'softmax', 'low-rank', 'block-low-rank', 'mixture' or 'adaptive'"


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (
            ["model.head.components=15"],
            "model.head.components: head 'softmax' has no such setting; it belongs to 'mixture' (model.head=mixture)",
        ),
        (
            ["training.schedule.decay=0.5"],
            "training.schedule.decay: schedule 'constant' has no such setting; it belongs to 'exponential' or "
            "'plateau' (training.schedule=exponential or training.schedule=plateau)",
        ),
        (
            ["model.cell.plan.blocks=4"],
            "model.cell.plan.blocks: cell 'lstm' has no such setting; it belongs to 'sparse-lstm' "
            "(model.cell=sparse-lstm)",
        ),
        (
            ["model.head=block-low-rank", 'model.head.bands=[[0,"full"],[5,"half"]]'],
            "model.head.bands: must be a whole number of at least 1, or \"full\" (got 'half')",
        ),
        (
            ["model.embedding=block-low-rank", "model.embedding.bands=[[1,5]]"],
            "model.embedding.bands: must ascend from word 0, each band with another first word (got [[1, 5]])",
        ),
        (["model.head=mixture"], "model.head.components: must be given where model.head is 'mixture'"),
        (["model.head=mixtre"], f"model.head: must be {HEADS} (got 'mixtre'); did you mean 'mixture'?"),
        (
            ["model.head=mixtre", "model.head.components=15"],
            f"model.head: must be {HEADS} (got 'mixtre'); did you mean 'mixture'?",
        ),
        (["model.head=3"], f"model.head: must be {HEADS} (got 3)"),
        (["model.head=none"], f"model.head: must be {HEADS} (got none)"),
        (["model.cell=sparse-lstm"], "model.cell.plan: must be given: 'fraction', 'uniform' or 'explicit'"),
        (
            ["model.cell=sparse-lstm", "model.cell.plan.blocks=4"],
            "model.cell.plan: must be given: 'fraction', 'uniform' or 'explicit'",
        ),
        (
            ["model.head=mixture", "model.head.components=1"],
            "model.head.components: must be at least 2 (got 1)",
        ),
        (["model.head.compnents=3"], "model.head.compnents: unknown key; did you mean 'components'?"),
        (
            ["model.cell=sparse-lstm", "model.cell.plan=explicit", "model.cell.plan.layers=[[[0,3]],[]]"],
            "model.cell.plan.layers: has a part that is too short or too long (got [0, 3])",
        ),
        (
            ["model.cell=multiplicative-lstm", "model.cell.intermediate_sizes=[3]"],
            "model.cell.intermediate_sizes: needs as many widths as hidden_sizes has (got 1 and 2)",
        ),
    ],
)
def test_mistakes_of_variants(words, wanted):
    assert mistakes("plain", *words) == [f"command line: {wanted}"]


def test_a_field_that_a_file_leaves_behind_is_shown_with_its_line(write):
    mine = write("mine.toml", 'extends = "mixed"\n[model.head]\nkind = "softmax"\ncomponents = 15\n')
    assert mistakes(mine) == [
        f"{mine}:4: model.head.components: head 'softmax' has no such setting; it belongs to 'mixture' "
        "(model.head=mixture)"
    ]


def test_an_empty_table_is_a_group_that_lacks_what_it_needs(write):
    mine = write("mine.toml", "[model.head]\n[sparsity.group_lasso]\n")
    assert mistakes(mine) == [f"{mine}:2: sparsity.group_lasso.strength: must be given"]
    write("parent.toml", "[sparsity.group_lasso]\nstrength = 0.5\n")
    mine = write("mine.toml", 'extends = "parent.toml"\n[sparsity.group_lasso]\n')
    assert resolve(str(mine), [], KNOWN).sparsity.group_lasso.strength == 0.5


def test_a_tagger_has_its_own_variants():
    assert mistakes("tagger", "training.optimizer=asgd") == [
        "command line: training.optimizer: must be 'sgd' or 'adam' (got 'asgd'); did you mean 'sgd'?"
    ]
    words = ["model.cell=sparse-lstm", "model.cell.plan=uniform", "model.cell.plan.blocks=2"]
    assert mistakes("tagger", *words) == [
        "command line: model.cell.plan.density: must be given where model.cell.plan is 'uniform'"
    ]
    assert mistakes("tagger", "model.cell=sparse-lstm", "model.cell.plan=fraction") == [
        "command line: model.cell.plan: must be 'uniform' (got 'fraction')"
    ]
    found = resolve("tagger", [*words, "model.cell.plan.density=1"], KNOWN)
    assert found.model.cell.plan == UniformPlan(blocks=2, density=1.0)


@pytest.mark.parametrize("name", NAMES)
def test_an_old_name_is_answered_with_the_new_one(name):
    assert mistakes("plain", f"{name}=3") == [f"command line: {name}: unknown setting; it is now {NAMES[name]}"]
    new, _, how = NAMES[name].partition(" (with ")
    assert fields_named(Experiment, new), new
    for choice in how.rstrip(")").split():
        group, _, variant = choice.partition("=")
        assert variant in [kind for field in fields_named(Experiment, group) for kind in kinds(field)], choice


@pytest.mark.parametrize(("name", "value"), NAMES_WITH_VALUES)
def test_an_old_value_is_answered_with_the_setting_that_replaces_it(name, value):
    new = NAMES_WITH_VALUES[name, value]
    assert mistakes("plain", f"{name}={value}") == [f"command line: {name}: unknown setting; it is now {new}"]
    setting, _, how = new.rstrip(")").partition(" (with ")
    more = ["model.cell.plan.blocks=2", "model.cell.plan.density=1"] if how else []
    assert resolve("plain", [setting, *how.split(), *more], KNOWN)


def kinds(field):
    from refrain.config.schema import group_of

    return group_of(field).variants()


@pytest.mark.parametrize(("name", "value"), VALUES)
def test_an_old_value_is_answered_with_the_new_one(name, value):
    assert mistakes("plain", f"{name}={value}") == [f"command line: {name}: {value!r} is now {VALUES[name, value]!r}"]
    assert resolve("plain", [f"{name}={VALUES[name, value]}"], KNOWN)


def test_the_old_engine_is_answered_with_the_new_backend(write):
    mine = write("mine.toml", '[training]\nengine = "scan"\n')
    assert mistakes(mine) == [
        f"{mine}:2: training.engine: unknown setting; it is now training.backend=native",
    ]


def test_names_on_the_command_line_and_in_toml():
    assert as_set("model.head.kind", Experiment) == "model.head" == as_set("model.head", Experiment)
    assert as_toml("model.head", Experiment) == "model.head.kind"
    assert as_toml("model.head.components", Experiment) == "model.head.components"
    assert as_set("model.cell.plan.kind", TaggerExperiment) == "model.cell.plan"
    assert as_set("sparsity.l1", Experiment) == as_toml("sparsity.l1", Experiment) == "sparsity.l1"


@pytest.mark.parametrize("make", [mixed, TaggerExperiment])
def test_all_settings_of_an_experiment_as_toml_give_it_again(write, make):
    def quoted(value):
        return '"none"' if value is None else str(value).lower() if isinstance(value, bool) else repr(value)

    experiment = make()
    rows = flatten(experiment.model_dump(mode="json"), root=make if make is TaggerExperiment else Experiment)
    mine = write("mine.toml", "".join(f"{name} = {quoted(value)}\n" for name, value in rows))
    assert resolve(str(mine), [], KNOWN) == experiment


def test_what_differs_between_experiments():
    assert list(differences(mixed(), mixed())) == []
    changed = ["training.epochs=9", "model.head=softmax", "model.dropout=0.1", "sparsity.l1.strength=0.5"]
    found = list(differences(mixed(), resolve("mixed", [*changed, "sparsity.group_lasso=none"], KNOWN)))
    assert found == [
        ("model.dropout", 0.0, 0.1),
        ("model.head", "mixture", "softmax"),
        ("training.epochs", 10, 9),
        ("sparsity.group_lasso.strength", 0.1, None),
        ("sparsity.group_lasso.widths", ["*.hidden"], None),
        ("sparsity.group_lasso.multipliers", [], None),
        ("sparsity.group_lasso.scaling", "none", None),
        ("sparsity.group_lasso.overlap", "twice", None),
        ("sparsity.l1.strength", None, 0.5),
        ("sparsity.l1.on", None, ["*weight*"]),
    ]
