"""Sparsity settings take effect or are refused, and zeros are frozen where there are some."""

import shutil

import pytest
import torch

from refrain import assembly, recipe, runs
from refrain.assembly.sparsity import build_sparsifier
from refrain.errors import UserError
from refrain.studies.sparsity_files import sparsity_report
from refrain.training import PlainProgress

SMALL = (
    "model.embedding_size=8", "model.hidden_sizes=[10,9]", "training.epochs=2", "training.batch_size=4",
    "training.window_steps=5", "training.sample_tokens=0",
)  # fmt: skip

INNER = [f"layer{i}.{name}" for i in "01" for name in ("hidden", "intermediate")]
MIXTURE = {"kind": "mixture", "components": 2}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["l1.on=['x']"], "sparsity.l1.strength: must be given"),
        (["group_lasso.widths=['embedding']"], "sparsity.group_lasso.strength: must be given"),
        (["row_lasso.on=['x']"], "sparsity.row_lasso.strength: must be given"),
        (["strengths_for=sum-over-time"], "sparsity.strengths_for: cannot take effect without a penalty"),
        (["zeros=threshold", "zeros.threshold=0.1"], "sparsity.zeros: cannot take effect without a penalty"),
        (["l1.strength=1", "zeros.threshold=0.1"], "zeros 'proximal' has no such setting; it belongs to 'threshold'"),
        (["l1.strength=1", "zeros=threshold"], "sparsity.zeros.threshold: must be given"),
        (["prune.begin=0.2"], "sparsity.prune.share: must be given"),
        (["prune.share=0.5", "prune.begin=0.8"], "sparsity.prune.end: must be greater than begin"),
        (["prune.share=1"], "sparsity.prune.share: must be less than 1"),
        (["l1.strength=-1"], "sparsity.l1.strength: must be greater than 0"),
        (["l1.strength=nan"], "sparsity.l1.strength: must be finite"),
        (["target.parameters=100"], "sparsity.target: needs a group lasso to begin with; give group_lasso.strength"),
        (
            ["target.reached=0.5"],
            "sparsity.target.parameters: give exactly one of parameters, multiply_adds, layer_multiply_adds and bytes",
        ),
        (
            ["group_lasso.strength=1", "target.bytes=9", "target.parameters=9"],
            "sparsity.target.parameters: cannot be a target beside bytes",
        ),
        (
            ["group_lasso.strength=1", "group_lasso.multipliers=['embedding:2']"],
            "group_lasso.multipliers: each must be width=number, as in layer0.hidden=0.5 (got 'embedding:2')",
        ),
        (["group_lasso.strength=1", "group_lasso.multipliers=['embedding=1e999']"], "each must be width=number"),
        (["group_lasso.strength=1", "freeze=rows"], "sparsity.freeze"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_settings_that_cannot_take_effect_are_errors(words, message):
    with pytest.raises(UserError) as error:
        recipe("zaremba-small", *(f"sparsity.{word}" for word in words))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model.weight_norm=true", "sparsity.l1.strength=1"], "the directions of weight_norm"),
        (["model.weight_norm=true", "sparsity.prune.share=0.5"], "the directions of weight_norm"),
        (
            ["training.optimizer=asgd", "sparsity.group_lasso.strength=1", "sparsity.target.parameters=9"],
            "training.optimizer: 'asgd' averages from the first step",
        ),
    ],
)
def test_what_other_settings_stand_against(words, message):
    with pytest.raises(UserError) as error:
        recipe("zaremba-small", "model.init=standard", *words)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["l1.strength=1", "l1.on=['head.*','rnn.*']"],
            "sparsity.l1.on: 'rnn.*' matches no parameter; the names are embedding.weight, stack.layers.0.weight_ih",
        ),
        (
            ["row_lasso.strength=1", "row_lasso.on=['*bias']"],
            "sparsity.row_lasso.on: '*bias' matches no matrix; the names are embedd",
        ),
        (
            ["group_lasso.strength=1", "group_lasso.widths=['layer7.hidden']"],
            "sparsity.group_lasso.widths: 'layer7.hidden' matches no width; the names are embedding, layer0.hidden, "
            "layer1.hidden",
        ),
        # the widths of the model that a unit cannot be taken out of are none of these
        (
            ["group_lasso.strength=1", "group_lasso.widths=['vocabulary']"],
            "'vocabulary' matches no width; the names are embedding",
        ),
        (
            ["group_lasso.strength=1", "group_lasso.multipliers=['layer7.hidden=2']"],
            "sparsity.group_lasso.multipliers: 'layer7.hidden' matches",
        ),
        (
            [
                "group_lasso.strength=1",
                "group_lasso.widths=['embedding']",
                "group_lasso.multipliers=['layer0.hidden=2']",
            ],
            "'layer0.hidden' matches no width of sparsity.group_lasso.widths; the names are embedding",
        ),
        (
            ["group_lasso.strength=1", "group_lasso.multipliers=['*=0']"],
            "are 0 for all of embedding, layer0.hidden, layer1",
        ),
        (
            ["group_lasso.strength=1", "target.parameters=7M"],
            "the model has 1,624 now, which is not more than 7,000,000",
        ),
        (["group_lasso.strength=1", "target.bytes=6496"], "sparsity.target.bytes: the model has 6,496 now"),
        (
            ["group_lasso.strength=1", "group_lasso.widths=['embedding']", "target.parameters=1000"],
            "sparsity.target.parameters: parameters cannot go below 1,288 (requested: 1,000); only units of embedding",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_patterns_and_targets_that_fit_nothing(words, message):
    experiment = recipe("zaremba-small", *SMALL, *(f"sparsity.{word}" for word in words))
    model = assembly.build_model(experiment.model, 8)
    with pytest.raises(UserError) as error:
        build_sparsifier(experiment, model, 100)
    assert message in str(error.value)


def test_defaults_fit_every_kind_of_model():
    for shape, widths in (
        ({}, ["embedding", "layer0.hidden", "layer1.hidden"]),
        ({"cell": "gru"}, ["embedding", "layer0.hidden", "layer1.hidden"]),
        ({"cell": "multiplicative-lstm"}, ["embedding", *INNER]),
        ({"tied": True, "hidden_sizes": (10, 8)}, ["embedding", "layer0.hidden"]),
        ({"head": MIXTURE}, ["layer0.hidden", "layer1.hidden"]),
        ({"head": MIXTURE, "tied": True}, ["embedding", "layer0.hidden", "layer1.hidden"]),
        ({"head": {"kind": "adaptive", "cutoffs": (3,)}}, ["embedding", "layer0.hidden"]),
    ):  # fmt: skip
        plain = recipe("zaremba-small", *SMALL, "sparsity.group_lasso.strength=0.1")
        experiment = plain.model_validate(plain.model_dump() | {"model": plain.model.model_dump() | shape})
        sparsifier = build_sparsifier(experiment, assembly.build_model(experiment.model, 8), 100)
        assert sorted(sparsifier.removable) == sorted(widths), shape
        assert len(sparsifier.penalties) == len(widths)


@pytest.fixture(scope="module")
def sparse_run(tiny_corpus, kill, tmp_path_factory):
    """A run with some dead units, and a few more entries that are zero."""
    out = tmp_path_factory.mktemp("runs") / "sparse"
    experiment = recipe("zaremba-small", *SMALL, "sparsity.l1.strength=0.0005", data=str(tiny_corpus))
    runs.train(experiment, out, progress=PlainProgress(quiet=True))
    return kill(out, **{"embedding": 2, "layer0.hidden": 3, "layer1.hidden": 4})


@pytest.mark.parametrize("what", ["elements", "units"])
def test_zeros_of_the_start_stay_zero_and_the_rest_learns(sparse_run, tiny_corpus, tmp_path, what):
    experiment = recipe("zaremba-small", *SMALL, f"sparsity.freeze={what}", data=str(tiny_corpus))
    runs.train(experiment, tmp_path / "run", start_from=sparse_run, progress=PlainProgress(quiet=True))
    before, after = (dict(runs.load(run).model.named_parameters()) for run in (sparse_run, tmp_path / "run"))
    revived = 0
    for name, start in before.items():
        if start.ndim == 2:
            was, now = start == 0, after[name] == 0
            revived += int((was & ~now).sum())
            assert bool(was.any()) and not torch.equal(start, after[name])
    # of dead units all entries are frozen, others may come back
    assert revived == 0 if what == "elements" else revived > 0
    if what == "units":
        assert after["stack.layers.1.bias"].view(4, 9)[:, :4].eq(0).all()
        widths = [sparsity_report(runs.load(run))["widths"] for run in (sparse_run, tmp_path / "run")]
        assert widths[0] == widths[1] and [row["dead"] for row in widths[0].values()] == [2, 3, 4]


@pytest.mark.parametrize(("what", "problem"), [("elements", "nothing is zero"), ("units", "no unit is dead")])
def test_a_freeze_of_nothing_is_refused(tiny_corpus, tmp_path, what, problem):
    experiment = recipe("zaremba-small", *SMALL, f"sparsity.freeze={what}", data=str(tiny_corpus))
    with pytest.raises(UserError, match=rf"sparsity.freeze: {problem} at the start; start from a sparse run"):
        runs.train(experiment, tmp_path / "run", progress=PlainProgress(quiet=True))
    assert not (tmp_path / "run").exists()


def test_a_frozen_run_resumes_without_its_start(sparse_run, tiny_corpus, tmp_path):
    experiment = recipe("zaremba-small", *SMALL, "sparsity.freeze=elements", data=str(tiny_corpus))
    runs.train(experiment, tmp_path / "run", start_from=sparse_run, progress=PlainProgress(quiet=True))
    assert runs.resume(tmp_path / "run", progress=PlainProgress(quiet=True))["epochs"] == 2


@pytest.mark.parametrize(("scaling", "advice"), [("none", True), ("sqrt-size", False)])
def test_a_layer_that_has_lost_its_units_is_a_warning(sparse_run, kill, tiny_corpus, tmp_path, scaling, advice):
    weak = ["sparsity.group_lasso.strength=1e-9", f"sparsity.group_lasso.scaling={scaling}", "sparsity.freeze=units"]
    experiment = recipe("zaremba-small", *SMALL, *weak, "training.learning_rate=0.001", data=str(tiny_corpus))
    start = tmp_path / "start"
    shutil.copytree(sparse_run, start)
    kill(start, **{"layer0.hidden": 3, "layer1.hidden": 8})
    (warning,) = runs.train(experiment, tmp_path / "run", start_from=start, progress=PlainProgress(quiet=True))[
        "warnings"
    ]
    assert warning.startswith("layer1.hidden: 1 of 9 units is left, so that almost nothing passes through it; train ")
    assert ("scaling=sqrt-size" in warning) is advice
