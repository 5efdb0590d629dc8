"""Sparsity settings do what they say or are refused, and zeros are frozen where there are some."""

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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["l1_on=['x']"], "sparsity.l1_on: cannot take effect without the penalty or pruning"),
        (["group_widths=['embedding']"], "sparsity.group_widths: cannot take effect"),
        (["group_multipliers=['embedding=2']"], "sparsity.group_multipliers: cannot take effect"),
        (["group_scaling=sqrt-size"], "sparsity.group_scaling: cannot take effect"),
        (["group_overlap=once"], "sparsity.group_overlap: cannot take effect"),
        (["row_lasso_on=['x']"], "sparsity.row_lasso_on: cannot take effect"),
        (["strengths_for=sum-over-time"], "sparsity.strengths_for: cannot take effect"),
        (["zeros=threshold", "threshold=0.1"], "sparsity.zeros: cannot take effect"),
        (["l1=1", "threshold=0.1"], "sparsity.threshold: goes with zeros = 'threshold'"),
        (["l1=1", "zeros=threshold"], "sparsity.threshold: goes with zeros = 'threshold'"),
        (["prune_begin=0.2"], "sparsity.prune_begin: cannot take effect"),
        (["prune_end=0.8"], "sparsity.prune_end: cannot take effect"),
        (["prune=0.5", "prune_begin=0.8"], "sparsity.prune_end: must be greater than prune_begin"),
        (["prune=1"], "sparsity.prune: must be less than 1"),
        (["l1=-1"], "sparsity.l1: must be at least 0"),
        (["l1=nan"], "sparsity.l1: "),
        (["target.parameters=100"], "sparsity.target: needs group_lasso"),
        (["target.reached=0.5"], "sparsity.target.reached: cannot take effect without a target"),
        (
            ["group_lasso=1", "target.bytes=9", "target.parameters=9"],
            "sparsity.target.bytes: cannot be a target beside parameters",
        ),
        (
            ["group_lasso=1", "group_multipliers=['embedding:2']"],
            "each must be width=number, as in layer0.hidden=0.5 (got 'embedding:2')",
        ),
        (["group_lasso=1", "group_multipliers=['embedding=1e999']"], "each must be width=number"),
        (["group_lasso=1", "freeze=rows"], "sparsity.freeze"),
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
        (["model.weight_norm=true", "sparsity.l1=1"], "the directions of weight_norm"),
        (["model.weight_norm=true", "sparsity.prune=0.5"], "the directions of weight_norm"),
        (
            ["training.optimizer=asgd", "sparsity.group_lasso=1", "sparsity.target.parameters=9"],
            "training.optimizer: 'asgd' averages from the first step",
        ),
    ],
)
def test_what_other_settings_stand_against(words, message):
    with pytest.raises(UserError) as error:
        recipe("zaremba-small", "model.init=standard", "model.init_scale=none", *words)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["l1=1", "l1_on=['head.*','rnn.*']"],
            "sparsity.l1_on: 'rnn.*' fits no parameter; there are embedding.weight, stack.layers.0.weight_ih",
        ),
        (
            ["row_lasso=1", "row_lasso_on=['*bias']"],
            "sparsity.row_lasso_on: '*bias' fits no matrix; there are embedd",
        ),
        (
            ["group_lasso=1", "group_widths=['layer7.hidden']"],
            "sparsity.group_widths: 'layer7.hidden' fits no width; there are embedding, layer0.hidden, layer1.hidden",
        ),
        # the widths of the model that a unit cannot be taken out of are none of these
        (["group_lasso=1", "group_widths=['vocabulary']"], "'vocabulary' fits no width; there are embedding"),
        (
            ["group_lasso=1", "group_multipliers=['layer7.hidden=2']"],
            "sparsity.group_multipliers: 'layer7.hidden' fits",
        ),
        (
            ["group_lasso=1", "group_widths=['embedding']", "group_multipliers=['layer0.hidden=2']"],
            "'layer0.hidden' fits no width of sparsity.group_widths; there are embedding",
        ),
        (["group_lasso=1", "group_multipliers=['*=0']"], "leave no penalty on any of embedding, layer0.hidden, layer1"),
        (["group_lasso=1", "target.parameters=7M"], "the model has 1,624 now, which is not more than 7,000,000"),
        (["group_lasso=1", "target.bytes=6496"], "sparsity.target.bytes: the model has 6,496 now"),
        (
            ["group_lasso=1", "group_widths=['embedding']", "target.parameters=1000"],
            "sparsity.target.parameters: parameters cannot go below 1,288 (asked for 1,000); the units of embedding",
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
        ({"cell": "mlstm"}, ["embedding", *(f"layer{i}.{kind}" for i in "01" for kind in ("hidden", "intermediate"))]),
        ({"tied": True, "hidden_sizes": (10, 8)}, ["embedding", "layer0.hidden"]),
        ({"head": "mixture", "components": 2}, ["layer0.hidden", "layer1.hidden"]),
        ({"head": "mixture", "components": 2, "tied": True}, ["embedding", "layer0.hidden", "layer1.hidden"]),
        ({"head": "adaptive", "cutoffs": (3,)}, ["embedding", "layer0.hidden"]),
    ):  # fmt: skip
        plain = recipe("zaremba-small", *SMALL, "sparsity.group_lasso=0.1")
        experiment = plain.model_validate(plain.model_dump() | {"model": plain.model.model_dump() | shape})
        sparsifier = build_sparsifier(experiment, assembly.build_model(experiment.model, 8), 100)
        assert sorted(sparsifier.removable) == sorted(widths), shape
        assert len(sparsifier.penalties) == len(widths)


@pytest.fixture(scope="module")
def sparse_run(tiny_corpus, kill, tmp_path_factory):
    """A run with some dead units, and a few more entries that are zero."""
    out = tmp_path_factory.mktemp("runs") / "sparse"
    experiment = recipe("zaremba-small", *SMALL, "sparsity.l1=0.0005", data=str(tiny_corpus))
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
    with pytest.raises(UserError, match=rf"sparsity.freeze: {problem} at the start; give --from RUN"):
        runs.train(experiment, tmp_path / "run", progress=PlainProgress(quiet=True))
    assert not (tmp_path / "run").exists()


def test_a_frozen_run_resumes_without_its_start(sparse_run, tiny_corpus, tmp_path):
    experiment = recipe("zaremba-small", *SMALL, "sparsity.freeze=elements", data=str(tiny_corpus))
    runs.train(experiment, tmp_path / "run", start_from=sparse_run, progress=PlainProgress(quiet=True))
    assert runs.resume(tmp_path / "run", progress=PlainProgress(quiet=True))["epochs"] == 2
