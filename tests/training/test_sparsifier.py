"""Runs that make weights zero: steered to a size, pruned to a share, by every penalty; and all of it resumes."""

import json
import math

import pytest
import torch
from short_runs import Stopping, assert_same_bits, quiet, trace

from refrain import assembly, runs
from refrain.assembly.sparsity import build_sparsifier
from refrain.assembly.task import build_task
from refrain.axes import Axis, Segment
from refrain.config import Data, Experiment, Model, Sparsity, Target, Training
from refrain.errors import CheckpointError
from refrain.sparsity import UnitLasso, dead_by_width, unit_axes
from refrain.training import Interrupted, Position
from refrain.training import resume as state_of_runs
from refrain.training.size_controller import Controller

# of 8-(12, 10) over 14 words
WHOLE, HALF = 2194, 1100
LASSO = {"strength": 0.01}
THRESHOLD = {"kind": "threshold", "threshold": 0.01}


def experiment(text, *, epochs=8, training=(), model=(), **sparsity):
    return Experiment(
        data=Data(corpus=str(text)),
        model=Model(**{"embedding_size": 8, "hidden_sizes": (12, 10), **dict(model)}),
        training=Training(
            **{
                "epochs": epochs,
                "batch_size": 4,
                "window_steps": 10,
                "max_norm": 5.0,
                "loss_scale": "sum-over-time",
                "log_windows": 5,
                "sample_tokens": 0,
                **dict(training),
            }
        ),
        sparsity=Sparsity(**sparsity),
    )


def lines(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def left(out):
    """The parameters of the best model without its dead units."""
    from refrain.studies.sparsity_files import sparsity_report

    return sparsity_report(runs.load(out))["compact_parameters"]


@pytest.mark.parametrize("strength", [1e-6, 0.01, 0.1])
def test_a_run_reaches_the_size_that_is_asked_for(text_folder, tmp_path, strength):
    """Also where the strength to begin with is much too small, or so large that by itself it would kill everything."""
    asked = experiment(text_folder, epochs=10, group_lasso={"strength": strength}, target=Target(parameters=HALF))
    runs.train(asked, tmp_path / "run", progress=quiet())
    course = lines(tmp_path / "run")
    assert course[0]["controlled_size"] == WHOLE
    assert 0.75 * HALF < left(tmp_path / "run") <= HALF
    # the path of the strength is there to be looked at, and it has moved before the penalty ended
    strengths = [line["group_lasso"] for line in course]
    assert len(set(strengths)) > 3 and strengths[-1] == 0.0
    assert course[-1]["units"].keys() == {"embedding", "layer0.hidden", "layer1.hidden"}
    assert course[-1]["sparsity"] > 0.3


def test_the_best_checkpoint_has_the_size(text_folder, tmp_path):
    adam, tiny = {"optimizer": "adam", "learning_rate": 0.03}, 100
    asked = experiment(
        text_folder,
        epochs=6,
        training=adam,
        group_lasso={"strength": 0.02},
        target=Target(parameters=tiny, reached=0.9),
    )
    runs.train(asked, tmp_path / "run", progress=quiet())
    valid = [line for line in lines(tmp_path / "run") if line["event"] == "valid"]
    settled = [line for line in valid if line["controlled_size"] <= tiny]
    # larger models did better
    assert min(line["nats_per_token"] for line in valid) < min(line["nats_per_token"] for line in settled)
    best = json.loads((tmp_path / "run" / "best" / "training.json").read_text())["position"]["best"]
    assert best["settled"] is True
    assert best["step"] == min(settled, key=lambda line: line["nats_per_token"])["step"]
    assert left(tmp_path / "run") <= tiny


@pytest.mark.parametrize("measure", ["multiply_adds", "layer_multiply_adds", "bytes"])
def test_other_measures_are_steered_as_well(text_folder, tmp_path, measure):
    # 8 * 48 + 12 * 48 + 12 * 40 + 10 * 40, and 10 * 14 of the head
    whole = {"multiply_adds": 1980, "layer_multiply_adds": 1840, "bytes": 4 * WHOLE}[measure]
    target = {"multiply_adds": 1980 // 2, "layer_multiply_adds": 1840 // 2, "bytes": 4 * HALF}[measure]
    asked = experiment(text_folder, epochs=6, group_lasso={"strength": 0.02}, target=Target(**{measure: target}))
    runs.train(asked, tmp_path / "run", progress=quiet())
    course = lines(tmp_path / "run")
    assert course[0]["controlled_size"] == whole
    assert course[-1]["controlled_size"] <= target


def chain(norms):
    """A width whose units have these norms, its penalty, and a controller that is to halve it."""
    weight = torch.diag(torch.tensor(norms))
    table = {"in": (Axis("units"), Axis("inputs", role="reads")), "out": (Axis("outputs"), Axis("units", role="reads"))}
    parameters = {"in": weight.clone(), "out": weight.clone()}
    widths = {"units": len(norms), "inputs": len(norms), "outputs": len(norms)}
    lasso = UnitLasso(parameters, unit_axes(table)["units"], 0.01)
    target = len(norms) ** 2
    return (
        parameters,
        lasso,
        Controller(parameters, table, widths, ("units",), {"units": lasso}, "parameters", target, 0.5),
    )


def test_strengths_grow_while_the_model_is_too_large_and_fall_while_it_is_too_small():
    parameters, lasso, controller = chain([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
    assert (controller.first, controller.target) == (128, 64)
    controller.update(0.1, 0.01, 0.1, last=False)
    # 64 + 64 (1 - 0.1 / 0.5)^3 are wanted, which is 0.488 of the way less than there is
    assert lasso.strength == pytest.approx(0.01 * math.exp(65 * 0.01 * (1 - 0.8**3)))
    for name in ("in", "out"):
        parameters[name][:3] *= 0
    before = lasso.strength
    controller.update(0.01, 0.01, 0.1, last=False)
    assert controller.now == 80 and lasso.strength < before


def test_the_strongest_unit_is_not_penalised_so_that_no_width_dies():
    parameters, lasso, controller = chain([1.0] * 6 + [8.0, 9.0])
    lasso.strength = 1e6
    # before the first look, and after one
    for alive in ([7], [7]):
        lasso.step(1.0)
        assert parameters["in"].diagonal().nonzero().flatten().tolist() == alive
        assert parameters["in"][7, 7] == 9.0
        controller.update(0.1, 0.01, 1.0, last=False)
        lasso.strength = 1e6


def test_blocks_that_share_units_become_as_small_as_the_order_of_norms_lets_them():
    rows = {name: torch.eye(2, 5) for name in ("a", "b")}
    parameters = {**rows, "c": torch.eye(9, 3)}
    parameters["a"][1] *= 0.1  # the unit that both blocks have
    parameters["b"][0] *= 0.1
    table = {
        "a": (Axis("h", segment=Segment(0, 2, 3)), Axis("i", role="reads")),
        "b": (Axis("h", segment=Segment(1, 3, 3)), Axis("i", role="reads")),
        "c": (Axis("o", removable=False), Axis("h", role="reads")),
    }
    lasso = UnitLasso(parameters, unit_axes(table)["h"], 0.01)
    widths = {"h": 3, "i": 5, "o": 9}
    controller = Controller(parameters, table, widths, ("h",), {"h": lasso}, "parameters", 19, 0.5)
    controller.update(0.5, 0.01, 0.1, last=True)
    # one unit is dropped, and then each block has one: it ends there
    assert (controller.first, controller.now, controller.done) == (47, 28, True)
    assert lasso.strength == 0


def test_strengths_cannot_kill_what_is_to_stay():
    _, lasso, controller = chain([1.0] * 7 + [8.0])
    lasso.strength = 1e6
    controller.update(0.001, 0.01, 50.0, last=False)
    # a group of norm sqrt 2 loses a tenth until the next look
    assert lasso.shrinkage(50.0) == pytest.approx(0.1 * math.sqrt(2))


def test_the_weakest_alone_are_penalised_where_that_is_asked_for():
    parameters, lasso, controller = chain([5.0, 2.0, 3.0, 4.0, 1.0, 6.0, 7.0, 8.0])
    controller.weakest = True
    controller.update(0.1, 0.01, 0.2, last=False)
    # a tenth of the way of 0.5 and a twentieth of the run ahead, 64 + 64 (1 - 0.15 / 0.5)^3 are left: five units
    assert lasso.penalised.nonzero().flatten().tolist() == [1, 2, 4]
    # after a twentieth of the run, in which rates add up to 1, the strongest of them has lost its norm, 3 in both
    assert lasso.shrinkage(1.0) == pytest.approx(3 * math.sqrt(2))
    before = {name: parameter.clone() for name, parameter in parameters.items()}
    lasso.step(0.2)
    for unit in range(8):
        same = torch.equal(parameters["in"][unit], before["in"][unit])
        assert same == (unit not in (1, 2, 4)), unit
    assert float(lasso.loss()) == pytest.approx(lasso.strength * float(lasso.norms()[[1, 2, 4]].sum()), rel=1e-4)
    # a unit that is dead stays penalised, and the strength does not fall with the norms
    for name in ("in", "out"):
        parameters[name][4] *= 0
        parameters[name][:, 4] *= 0
        parameters[name][[1, 2]] *= 0.1
    before = lasso.strength
    controller.update(0.11, 0.01, 0.2, last=False)
    assert lasso.strength == before and lasso.penalised.nonzero().flatten().tolist() == [1, 2, 4]


def test_what_is_kept_keeps_its_weights_where_the_weakest_are_penalised(text_folder, tmp_path):
    norms = {}
    for name in ("all", "weakest"):
        target = Target(parameters=HALF, reached=0.9, penalised=name)
        asked = experiment(text_folder, epochs=10, group_lasso=LASSO, target=target)
        runs.train(asked, tmp_path / name, progress=quiet())
        assert 0.75 * HALF < left(tmp_path / name) <= HALF
        model = runs.load(tmp_path / name).model
        norms[name] = torch.cat([parameter.flatten() for parameter in model.stack.parameters()]).norm()
    assert norms["weakest"] > 1.1 * norms["all"]


def test_in_the_end_the_weakest_units_are_dropped():
    parameters, lasso, controller = chain([5.0, 2.0, 3.0, 4.0, 1.0, 6.0, 7.0, 8.0])
    controller.update(0.5, 0.01, 0.1, last=True)
    assert controller.done and controller.now == 64 and lasso.strength == 0.0
    dead = dead_by_width(parameters, controller.table, ["units"])["units"]
    assert dead.nonzero().flatten().tolist() == [1, 2, 3, 4]


def test_units_that_save_nothing_by_the_measure_are_not_dropped():
    table = {
        "stack.in": (Axis("units"), Axis("inputs", role="reads")),
        "stack.out": (Axis("outputs"), Axis("units", role="reads")),
        "head.in": (Axis("rank"), Axis("outputs", role="reads")),
        "head.out": (Axis("words"), Axis("rank", role="reads")),
    }
    widths = {"units": 4, "inputs": 3, "outputs": 2, "rank": 5, "words": 2}
    parameters = {
        "stack.in": torch.ones(4, 3),
        "stack.out": torch.ones(2, 4),
        # the weakest units of all
        "head.in": torch.full((5, 2), 1e-3),
        "head.out": torch.full((2, 5), 1e-3),
    }
    lassos = {width: UnitLasso(parameters, unit_axes(table)[width], 0.01) for width in ("units", "rank")}
    controller = Controller(parameters, table, widths, ("units", "rank"), lassos, "layer_multiply_adds", 10, 0.5)
    controller.update(0.5, 0.01, 0.1, last=True)
    dead = dead_by_width(parameters, table, ["units", "rank"])
    assert controller.now == 10 and int(dead["units"].sum()) == 2 and not dead["rank"].any()


# each changes something of its own during a run
KINDS = {
    "target": {"group_lasso": LASSO, "target": Target(parameters=HALF, reached=0.5)},
    "weakest": {"group_lasso": LASSO, "target": Target(parameters=HALF, reached=0.8, penalised="weakest")},
    "threshold": {"l1": {"strength": 0.003}, "group_lasso": {"strength": 0.003}, "zeros": THRESHOLD},
    "prune": {"prune": {"share": 0.6, "begin": 0.2, "end": 0.6}},
    "lines": {"row_lasso": {"strength": 0.02}, "column_lasso": {"strength": 0.02}, "l1": {"strength": 0.001}},
}


@pytest.mark.parametrize("windows", [3, 21, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_sparse_runs_continue_bit_for_bit(text_folder, tmp_path_factory, tmp_path, kind, windows):
    asked = experiment(text_folder, epochs=3, **KINDS[kind])
    unbroken = tmp_path_factory.getbasetemp() / f"unbroken-{kind}"
    if not unbroken.exists():
        runs.train(asked, unbroken, progress=quiet())
    with pytest.raises(Interrupted):
        runs.train(asked, tmp_path / "run", progress=Stopping(windows))
    runs.resume(tmp_path / "run", progress=quiet())
    assert_same_bits(trace(tmp_path / "run"), trace(unbroken))
    assert lines(unbroken)[-1]["sparsity"] > 0.1


def test_pruning_reaches_its_share_in_a_run_shorter_than_its_looks(text_folder, tmp_path):
    prune = {"share": 0.6, "begin": 0.1, "end": 0.55}
    asked = experiment(text_folder, epochs=2, training={"log_windows": 1}, prune=prune)
    runs.train(asked, tmp_path / "run", progress=quiet())
    shares = [line["sparsity"] for line in lines(tmp_path / "run")]
    assert shares == sorted(shares) and shares[0] == 0.0 and len(set(shares)) > 10
    for parameter in runs.load(tmp_path / "run").model.parameters():
        if parameter.ndim == 2:
            assert int((parameter == 0).sum()) == round(0.6 * parameter.numel())
        else:
            assert not (parameter == 0).all()


def test_weights_of_another_model_have_other_masks(text_folder):
    corpus = assembly.build_corpus(experiment(text_folder).data)
    tasks = []
    for sizes in ((12, 10), (12, 9)):
        asked = experiment(text_folder, model={"hidden_sizes": sizes}, freeze="elements")
        model = assembly.build_model(asked.model, len(corpus.vocabulary))
        with torch.no_grad():
            model.head.weight[0] = 0.0
        tasks.append(build_task(asked, corpus, model))
    tensors, document = state_of_runs.capture(tasks[0], Position(), None)
    message = r"does not fit.*mask for head.weight has shape \(14, 10\), the parameter has shape \(14, 9\)"
    with pytest.raises(CheckpointError, match=message):
        state_of_runs.restore(tasks[1], tensors, document)


TWO_SCALES = {
    "group lasso": {"group_lasso": LASSO},
    "L1": {"l1": {"strength": 0.001, "on": ("*",)}},
    "rows and columns": {"row_lasso": {"strength": 0.01}, "column_lasso": {"strength": 0.005}},
    "threshold": {"group_lasso": LASSO, "l1": {"strength": 0.0002}, "zeros": THRESHOLD},
}


@pytest.mark.parametrize("kind", TWO_SCALES)
def test_a_run_is_the_same_in_both_scales_of_the_loss(text_folder, tmp_path, kind):
    """Plain SGD on a mean over T steps, at T times the rate and a T-th of the clip, is SGD on their sum."""
    steps, weights = 10, []
    for name, scale, factor in (("sum", "sum-over-time", 1), ("mean", "mean-over-tokens", steps)):
        training = {"loss_scale": scale, "learning_rate": 0.5 * factor, "max_norm": 1.0 / factor}
        asked = experiment(text_folder, epochs=2, training=training, strengths_for="sum-over-time", **TWO_SCALES[kind])
        runs.train(asked, tmp_path / name, progress=quiet())
        weights.append(dict(runs.load(tmp_path / name / "checkpoints/step-000000036").model.named_parameters()))
    for name, weight in weights[0].items():
        # 36 steps in float32, whose rounding differs by the factor
        torch.testing.assert_close(weight, weights[1][name], atol=2e-4, rtol=1e-3)
    assert sum(int((weight == 0).sum()) for weight in weights[0].values()) > 0 or kind != "L1"


def test_penalties_act_on_the_parameters_that_the_settings_name(text_folder):
    corpus = assembly.build_corpus(experiment(text_folder).data)

    def lassos(**changed):
        asked = experiment(text_folder, group_lasso={"strength": 0.5, **changed})
        torch.manual_seed(1)
        model = assembly.build_model(asked.model, len(corpus.vocabulary))
        return model, build_sparsifier(asked, model, 100).penalties

    model, plain = lassos()
    _, chosen = lassos(widths=("layer*",))
    assert len(plain) == 3 and [lasso.loss().item() for lasso in chosen] == [lasso.loss().item() for lasso in plain[1:]]
    _, scaled = lassos(multipliers=("*.hidden=3", "layer1.hidden=0.1", "embedding=0"))
    assert [lasso.strength for lasso in scaled] == pytest.approx([1.5, 0.05])
    _, sized = lassos(scaling="sqrt-size")
    # of layer 0: 4 rows of 8 + 12, and a column of 48 and of 40; the 4 entries on both count twice
    assert sized[1].shrinkage(2.0) == pytest.approx(2 * 0.5 * math.sqrt(4 * 20 + 48 + 40))
    _, once = lassos(scaling="sqrt-size", overlap="once")
    assert once[1].shrinkage(2.0) == pytest.approx(2 * 0.5 * math.sqrt(4 * 20 + 48 + 40 - 4))
    # with one unit's entries at 1, the norm is the root of their number
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
    assert plain[1].norms()[0].item() == pytest.approx(math.sqrt(168))
    assert UnitLasso(plain[1].parameters, plain[1].unit_axes, 1.0, overlap="once").norms()[0].item() == pytest.approx(
        math.sqrt(164)
    )


@pytest.mark.parametrize(
    ("settings", "zeros"),
    [
        ({"l1": {"strength": 0.01}}, lambda weight: bool((weight == 0).any())),
        ({"row_lasso": {"strength": 0.05}}, lambda weight: bool((weight == 0).all(dim=1).any())),
        ({"column_lasso": {"strength": 0.1}}, lambda weight: bool((weight == 0).all(dim=0).any())),
    ],
    ids=["l1", "rows", "columns"],
)
def test_proximal_steps_give_exact_zeros(text_folder, tmp_path, settings, zeros):
    runs.train(experiment(text_folder, epochs=3, **settings), tmp_path / "run", progress=quiet())
    model = runs.load(tmp_path / "run" / "checkpoints" / "step-000000054").model
    assert zeros(model.stack.layers[0].weight_hh)
    # lines are taken of what is in the stack, L1 of every matrix
    assert bool((model.head.weight == 0).any()) == ("l1" in settings)


def test_l1_acts_on_the_parameters_that_are_named(text_folder, tmp_path):
    asked = experiment(text_folder, epochs=2, l1={"strength": 0.05, "on": ("head.*",)})
    runs.train(asked, tmp_path / "run", progress=quiet())
    zeros = {
        name: int((parameter == 0).sum()) for name, parameter in runs.load(tmp_path / "run").model.named_parameters()
    }
    assert zeros["head.weight"] > 0
    assert not zeros["embedding.weight"] and not zeros["stack.layers.0.weight_hh"]


def test_the_steps_of_a_run_are_those_of_all_its_epochs(text_folder):
    """Each epoch draws windows of its own, so that epochs differ in their number."""
    drawn = {"windows": "random", "window_steps": 6, "accumulate_windows": 2}
    asked = experiment(text_folder, epochs=9, training=drawn, **KINDS["prune"])
    corpus = assembly.build_corpus(asked.data)
    task = build_task(asked, corpus, assembly.build_language_model(asked, corpus.vocabulary))
    windows = [len(task.windows(epoch)) for epoch in range(9)]
    assert len(set(windows)) > 1
    assert task.methods["sparsifier"].steps == sum(-(-count // 2) for count in windows)
