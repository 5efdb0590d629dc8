"""A compressed run is an ordinary run that computes what the masked model computes, for every kind of model."""

import copy
import errno
import importlib
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from refrain import load, recipe, resume, train
from refrain.assembly.widths import removable_widths
from refrain.config import Experiment
from refrain.errors import CheckpointError, DataError, UnwritableError, UserError
from refrain.evaluation import evaluate
from refrain.sparsity import clear_units, dead_units, model_size, multiply_adds, unit_axes, weakest_first
from refrain.sparsity.compact import largest_entries
from refrain.sparsity.removal import removal_effects
from refrain.sparsity.sizes import unit_sizes
from refrain.studies.compress import compress
from refrain.studies.compress_tagger import compress_tagger
from refrain.studies.masked_proof import prove
from refrain.studies.reconstruction import reconstructed
from refrain.studies.removal_cost import Cost, Request, accepted, beginning_of, open_validation
from refrain.studies.smaller import units_to_remove
from refrain.studies.sparsity_files import sparsity_report
from refrain.studies.unit_ranking import units_for_size
from refrain.training import PlainProgress

SMALL = (
    "model.embedding_size=8", "training.epochs=1", "training.batch_size=4", "training.window_steps=5",
    "training.sample_tokens=0",
)  # fmt: skip
LSTM = {"embedding": 3, "layer0.hidden": 4, "layer1.hidden": 5}
# settings, and how many units of each width are made dead
KINDS = {
    "lstm": (["model.hidden_sizes=[10,9]"], LSTM),
    "gru": (["model.hidden_sizes=[10,9]", "model.cell=gru"], LSTM),
    "gru, two biases": (["model.hidden_sizes=[10,9]", "model.cell=gru", "model.cell.recurrent_bias=true"], LSTM),
    "one width": (["model.hidden_sizes=[10,9]"], {"layer0.hidden": 4}),
    "mlstm": (
        ["model.hidden_sizes=[10,9]", "model.cell=multiplicative-lstm", "model.cell.intermediate_sizes=[7,8]"],
        {**LSTM, "layer0.intermediate": 2, "layer1.intermediate": 1},
    ),
    "tied": (["model.hidden_sizes=[10,8]", "model.tied=true"], {"embedding": 3, "layer0.hidden": 4}),
    "tied mlstm": (
        ["model.hidden_sizes=[10,8]", "model.tied=true", "model.cell=multiplicative-lstm"],
        {"embedding": 3, "embedding.intermediate": 2, "layer0.intermediate": 4},
    ),
    "mixture": (
        ["model.hidden_sizes=[10,9]", "model.head=mixture", "model.head.components=2"],
        {"layer0.hidden": 4, "layer1.hidden": 5},
    ),
    "tied mixture": (
        ["model.hidden_sizes=[10,9]", "model.head=mixture", "model.head.components=2", "model.tied=true"],
        LSTM,
    ),
    "adaptive": (
        ["model.hidden_sizes=[10,9]", "model.head=adaptive", "model.head.cutoffs=[3]"],
        {"embedding": 3, "layer0.hidden": 4},
    ),
    "weight norm": (
        ["model.hidden_sizes=[10,9]", "model.weight_norm=true", "model.init=standard"],
        LSTM,
    ),
    "bytes, a line a document": (
        ["model.hidden_sizes=[10,9]", "data.unit=byte", "training.state=reset-per-document"],
        LSTM,
    ),
}


def trained(folder, corpus, *settings):
    experiment = recipe("zaremba-small", *SMALL, *settings, data=str(corpus))
    train(experiment, folder, progress=PlainProgress(quiet=True))
    return folder


@pytest.fixture(scope="module")
def runs(tiny_corpus, kill, tmp_path_factory):
    """Runs of each kind with dead units, made when they are first used."""
    folder = tmp_path_factory.mktemp("runs")

    def run(kind):
        if not (folder / kind).exists():
            settings, units = KINDS[kind]
            kill(trained(folder / kind, tiny_corpus, *settings), **units)
        return folder / kind

    return run


def log_probabilities(lm, text="ant bee fox\ndog"):
    ids = torch.tensor(lm.vocabulary.encode(text))[:, None]
    model = lm.model.double()
    hidden, _ = model.hidden(ids, model.initial_state(1))
    return model.head.log_probabilities(hidden.dropped).detach()


def validation(lm):
    """Windows of the validation text of a run."""
    return open_validation(lm.vocabulary, Experiment.model_validate(lm.config), None, lambda line: None).windows


@pytest.mark.parametrize("kind", KINDS)
def test_dead_units_go_and_the_outputs_stay(runs, tmp_path, tree, kind):
    run, units = runs(kind), KINDS[kind][1]
    before = tree(run)
    report = sparsity_report(load(run))
    found = compress(run, tmp_path / "small")
    assert tree(run) == before
    assert found["removed"] == units
    assert {width: row["dead"] for width, row in report["widths"].items() if row["dead"]} == units
    assert found["max_abs_difference"] < 1e-12
    dense, small = load(run), load(tmp_path / "small")
    torch.testing.assert_close(log_probabilities(small), log_probabilities(dense), rtol=0, atol=1e-12)
    widths = dense.model.widths() | {width: report["widths"][width]["left"] for width in units}
    assert small.model.widths() == found["after"]["widths"] == widths
    for key, value in (("before", "parameters"), ("after", "compact_parameters")):
        assert found[key]["parameters"] == report[value]
    assert found["after"]["multiply_adds"] == report["compact_multiply_adds"]
    assert found["after"]["perplexity"] == pytest.approx(found["before"]["perplexity"], rel=1e-6)
    assert found["after"]["bytes"] < found["before"]["bytes"]
    assert found["after"]["ms_per_token"] > 0 and found["after"]["tokens_per_second"] > 0


def test_the_smaller_run_is_an_ordinary_one(runs, tiny_corpus, tmp_path):
    compress(runs("lstm"), tmp_path / "small")
    config = json.loads((tmp_path / "small" / "config.json").read_text())["experiment"]
    assert (config["model"]["embedding_size"], config["model"]["hidden_sizes"]) == (5, [6, 4])
    assert config["sparsity"]["freeze"] == "none"
    assert {path.name for path in (tmp_path / "small").iterdir()} == {
        ".lock", "README.md", "best", "checkpoints", "config.json", "manifest.json", "samples", "summary.json",
    }  # fmt: skip
    assert json.loads((tmp_path / "small" / "summary.json").read_text())["removed"] == LSTM
    assert "| width layer0.hidden | 10 | 6 |" in (tmp_path / "small" / "README.md").read_text()
    lm = load(tmp_path / "small" / "best")
    assert lm.generate("ant", tokens=3, seed=1)[0].startswith("ant")
    with pytest.raises(CheckpointError, match=r"has no sha256 of the train text.*refrain train RECIPE --from"):
        resume(tmp_path / "small")
    # a second stage starts from it as from any other run
    again = ("model.embedding_size=5", "model.hidden_sizes=[6,4]")
    experiment = recipe("zaremba-small", *SMALL, *again, data=str(tiny_corpus))
    quiet = PlainProgress(quiet=True)
    assert train(experiment, tmp_path / "on", start_from=tmp_path / "small", progress=quiet)["epochs"] == 1
    with pytest.raises(
        UserError, match=r"nothing to remove: no unit of embedding, layer0.hidden, layer1.hidden is dead"
    ):
        compress(tmp_path / "small", tmp_path / "smaller")


def test_a_threshold_takes_units_that_are_nearly_dead(runs, tmp_path):
    run = runs("lstm")
    model = load(run).model
    parameters, found = dict(model.named_parameters()), unit_axes(model.axes())
    # a unit of 0 is dead anyway
    sizes = sorted({size for width in LSTM for size in largest_entries(parameters, found[width]).tolist()})
    report = compress(run, tmp_path / "small", threshold=(sizes[1] + sizes[2]) / 2)
    assert sizes[0] == 0.0 and sum(report["removed"].values()) == sum(LSTM.values()) + 1
    assert report["max_abs_difference"] < 1e-12
    assert report["after"]["perplexity"] == pytest.approx(report["before"]["perplexity"], rel=0.1)
    with pytest.raises(UserError, match=r"all 8 units of embedding are dead with --threshold 100; ask for less"):
        compress(run, tmp_path / "x", threshold=100.0)
    with pytest.raises(UserError, match="and none has all its weights below 1e-09; give a --threshold"):
        compress(tmp_path / "small", tmp_path / "x", threshold=1e-9)
    with pytest.raises(UserError, match="greater than 0"):
        compress(run, tmp_path / "x", threshold=-1.0)


@pytest.mark.parametrize("measure", ["parameters", "multiply_adds", "layer_multiply_adds", "bytes"])
def test_a_target_takes_the_units_that_cost_the_least(runs, measure):
    lm = load(runs("lstm"))
    model, text = lm.model, validation(lm)
    for parameter in model.stack.layers[0].parameters():
        parameter.data.mul_(1e-3)
    # 544 parameters are left without the dead units
    sizes = {"parameters": 400, "multiply_adds": 350, "layer_multiply_adds": 200, "bytes": 1600}
    dead = units_to_remove(model, to=(measure, sizes[measure]), text=text)
    plain = units_to_remove(model)
    assert all((dead[width] | ~plain[width]).all() for width in dead)
    extra = {width: int((dead[width] & ~plain[width]).sum()) for width in dead}
    assert extra["layer0.hidden"] > 0 and extra["layer1.hidden"] == 0


def test_the_size_of_the_layers_leaves_the_rank_of_the_head(tiny_corpus, tmp_path):
    settings = ("model.hidden_sizes=[10,9]", "model.head=low-rank", "model.head.rank=6")
    lm = load(trained(tmp_path / "run", tiny_corpus, *settings))
    # nothing would be lost with the units of the rank
    lm.model.head.projection.data.mul_(1e-6)
    whole = model_size("layer_multiply_adds", lm.model.axes(), lm.model.widths())
    dead = units_to_remove(lm.model, to=("layer_multiply_adds", whole // 2), text=validation(lm))
    assert not dead["head.rank"].any()
    assert model_size("layer_multiply_adds", lm.model.axes(), lm.model.widths(), dead) <= whole // 2


def test_what_a_unit_does_counts_and_not_how_large_its_weights_are(runs):
    lm = load(runs("lstm"))
    parameters, table = dict(lm.model.named_parameters()), lm.model.axes()
    with torch.no_grad():
        # the largest unit of all, which hardly anything reads
        parameters["embedding.weight"][:, 6] = 100.0
        parameters["stack.layers.0.weight_ih"][:, 6] = 1e-6
    dead = units_to_remove(lm.model)
    gone = dead["embedding"].nonzero().flatten().tolist()
    whole = multiply_adds(table, lm.model.widths(), {"embedding": dead["embedding"]})
    chosen = units_for_size(
        lm.model, validation(lm), ["embedding"], measure="multiply_adds", target=whole - 1, dead=dead
    )
    assert chosen["embedding"].nonzero().flatten().tolist() == [*gone, 6]
    # by their size, others would go first
    assert weakest_first(parameters, table, ["embedding"])[-1] == ("embedding", 6)


@pytest.mark.parametrize("kind", ["lstm", "gru", "mlstm", "tied mlstm", "tied mixture"])
def test_the_effect_of_a_unit_is_the_derivative_by_what_reads_it(runs, kind):
    lm = load(runs(kind))
    model = lm.model.double()
    parameters, found = dict(model.named_parameters()), unit_axes(model.axes())
    inputs, targets = validation(lm)[0]

    def loss():
        return model(inputs, targets, model.initial_state(inputs.shape[1])).nats / targets.numel()

    gradients = dict(zip(parameters, torch.autograd.grad(loss(), list(parameters.values())), strict=True))
    for width in removable_widths(model):
        effects = removal_effects(parameters, gradients, found[width])
        unit = int(effects.abs().argmax())
        kept = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        values = []
        for step in (1e-4, -1e-4):
            factors = torch.ones(len(effects), dtype=torch.float64)
            factors[unit] += step
            with torch.no_grad():
                for axis in (axis for axis in found[width] if axis.axis.reads):
                    parameters[axis.parameter].mul_(axis.broadcast(factors, parameters[axis.parameter].ndim))
                values.append(float(loss()))
                for name, parameter in parameters.items():
                    parameter.copy_(kept[name])
        assert float(effects[unit]) == pytest.approx((values[0] - values[1]) / 2e-4, rel=1e-3, abs=1e-9)


@pytest.mark.parametrize(
    ("kind", "width"), [("lstm", "embedding"), ("gru", "layer0.hidden"), ("tied", "layer0.hidden")]
)
def test_a_unit_that_others_predict_is_removed_without_loss(runs, kind, width):
    lm = load(runs(kind))
    parameters, text = dict(lm.model.named_parameters()), validation(lm)
    axes = unit_axes(lm.model.axes())[width]
    units = lm.model.widths()[width]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        # what reads first: a matrix may do both
        for axis in sorted(axes, key=lambda each: each.axis.writes):
            columns = parameters[axis.parameter].movedim(axis.dimension, 0).unflatten(0, (axis.axis.copies, units))
            if axis.axis.writes:
                # of everything that writes it, the last unit is a copy of the one before
                columns[:, -1] = columns[:, -2]
            else:
                columns.add_(torch.randn(columns.shape, generator=generator))
    before = evaluate(lm.model, text).nats_per_token
    removed = {width: torch.arange(units) == units - 1}
    changed = reconstructed(lm.model, text, removed)
    assert evaluate(lm.model, text).nats_per_token == before
    with torch.no_grad():
        clear_units(parameters, axes, removed[width])
    error = abs(evaluate(changed, text).nats_per_token - before)
    assert error < 0.3 * abs(evaluate(lm.model, text).nats_per_token - before)
    assert dead_units(dict(changed.named_parameters()), axes)[-1]


@pytest.mark.parametrize("kind", ["lstm", "mlstm", "tied"])
@pytest.mark.parametrize("measure", ["parameters", "multiply_adds", "layer_multiply_adds", "bytes"])
def test_the_size_of_a_unit_is_what_a_model_loses_with_it(runs, kind, measure):
    model = load(runs(kind)).model
    table, widths, removed = model.axes(), model.widths(), removable_widths(model)
    dead = {width: torch.arange(widths[width]) % 3 == 0 for width in removed}
    whole = model_size(measure, table, widths, dead)
    for width, sizes in unit_sizes(measure, table, widths, removed, dead).items():
        for unit in (~dead[width]).nonzero().flatten().tolist():
            one = dead[width].clone()
            one[unit] = True
            assert sizes[unit] == whole - model_size(measure, table, widths, dead | {width: one})


def test_a_model_that_becomes_too_bad_is_refused_with_the_figures(runs, tmp_path, monkeypatch):
    run, to, lines = runs("lstm"), ("parameters", "5%"), []
    # the text of these runs is random, so that no unit is of much use
    cost = Cost(100.0, 130.0, "the validation text of tiny")
    monkeypatch.setattr(importlib.import_module("refrain.studies.compress"), "cost_of", lambda *arguments: cost)
    with pytest.raises(UserError) as caught:
        compress(run, tmp_path / "small", to=to)
    assert str(caught.value).startswith(
        "--to parameters=5%: the perplexity on the validation text of tiny becomes 130.00, from 100.00 (30.0% more), "
        "but --max-loss allows 20% more; nothing was written; "
    )
    assert list(tmp_path.iterdir()) == []
    found = compress(run, tmp_path / "small", to=to, force=True, log=lines.append)
    assert found["after"]["parameters"] <= 0.05 * found["before"]["parameters"]
    assert any(line.startswith("without ") and line.endswith(f"units, {cost}") for line in lines)
    assert found["cost"] == {"text": cost.text, "before": 100.0, "after": 130.0, "growth": cost.growth}
    assert json.loads((tmp_path / "small" / "summary.json").read_text())["cost"] == found["cost"]
    assert compress(run, tmp_path / "other", to=to, max_loss=0.4)["cost"] == found["cost"]


def test_the_allowed_loss(runs, tmp_path):
    request = Request(None, ("bytes", "50%"), None)
    accepted(Cost(100.0, 119.0, "a text"), request)
    for after in (121.0, float("inf"), float("nan")):
        with pytest.raises(UserError, match=r"--to bytes=50%: the perplexity on a text becomes .*allows 20% more"):
            accepted(Cost(100.0, after, "a text"), request)
    accepted(Cost(100.0, 121.0, "a text"), request._replace(max_loss=0.25))
    with pytest.raises(UserError, match="--max-loss cannot take effect without --to or --threshold"):
        compress(runs("lstm"), tmp_path / "x", max_loss=0.1)
    for asked, said in (("100%", "between 0% and 100%"), ("0%", "between 0% and 100%"), ("half", "a number, 7M or")):
        with pytest.raises(UserError, match=said):
            compress(runs("lstm"), tmp_path / "x", to=("parameters", asked))


def test_the_text_on_which_units_are_chosen(runs, tmp_path, write):
    to, lines = ("parameters", "90%"), []
    both = {"max_loss": 9.0, "log": lines.append}
    path = write("mine.txt", "ant bee fox dog cat eel\n" * 30)
    assert compress(runs("lstm"), tmp_path / "a", to=to, data=str(path), **both)["cost"]["text"].startswith("the text")
    folder = write("mine/test.txt", "ant bee fox dog cat eel\n" * 30).parent
    found = compress(runs("lstm"), tmp_path / "b", to=to, data=str(folder), **both)
    assert found["cost"]["text"].startswith("the test text of mine (")
    assert any("has no validation text" in line for line in lines)


@pytest.mark.parametrize(
    ("to", "message"),
    [
        (("parameters", 10_000_000), "--to parameters=10000000: the model has 1,624, which is no more than that"),
        # those of the file, in which the zeros of dead units are not stored
        (("bytes", 7224), "--to bytes=7224: the model has 4,2"),
        (("parameters", 3), "--to parameters=3: parameters cannot go below 48"),
    ],
)
def test_targets_out_of_reach(runs, tmp_path, to, message):
    with pytest.raises(UserError, match=message):
        compress(runs("lstm"), tmp_path / "small", to=to)
    assert not (tmp_path / "small").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"to": ("params", "20%")},
            "to: the measure: must be one of parameters, multiply_adds, layer_multiply_adds, bytes (got 'params')",
        ),
        (
            {"to": "parameters=80%"},
            "to: must be a measure and a size, such as ('parameters', '50%') (got 'parameters=80%')",
        ),
        ({"to": ("parameters", None)}, "to: the size: must be a number (got None)"),
        ({"threshold": "0.1"}, "threshold: must be a number (got '0.1')"),
        ({"to": ("bytes", 9000), "max_loss": "20%"}, "max_loss: must be a number (got '20%')"),
        ({"zeros": "50%"}, "zeros: must be a number (got '50%')"),
        ({"finetune_epochs": 1.5}, "finetune_epochs: must be a whole number (got 1.5)"),
    ],
)
def test_options_of_another_type(tmp_path, options, message):
    with pytest.raises(UserError) as raised:
        compress(tmp_path / "run", tmp_path / "small", **options)
    assert str(raised.value) == message


def test_a_loaded_model_is_no_run_folder(tmp_path):
    with pytest.raises(UserError, match=r"^run: must be a run folder \(got an object of the class object\)$"):
        compress(object(), tmp_path / "small", threshold=0.1)
    with pytest.raises(UserError, match=r"^run: must be a run folder \(got an object of the class object\)$"):
        compress_tagger(object(), tmp_path / "small")
    with pytest.raises(UserError, match=r"^weights: must be one of float32, int8 \(got 'int4'\)$"):
        compress_tagger(tmp_path / "run", tmp_path / "small", weights="int4")


def test_all_units_of_a_width_are_dead_already(runs, kill, tmp_path):
    run = kill(shutil.copytree(runs("lstm"), tmp_path / "run", symlinks=True), **{"layer1.hidden": 9})
    with pytest.raises(UserError, match=r"all 9 units of layer1.hidden are dead already"):
        compress(run, tmp_path / "small")


def test_finetuning_trains_the_smaller_model(runs, tmp_path, tree, capfd):
    before = tree(runs("lstm"))
    found = compress(runs("lstm"), tmp_path / "small", finetune_epochs=2)
    assert tree(runs("lstm")) == before
    assert found["finetuned"]["widths"] == found["after"]["widths"]
    assert found["finetuned"]["perplexity"] != found["after"]["perplexity"]
    assert json.loads((tmp_path / "small" / "summary.json").read_text())["epochs"] == 2
    # it started in a folder that is gone
    start = json.loads((tmp_path / "small" / "manifest.json").read_text())["start"]
    assert (start["run"], start["compressed"]) == (str(runs("lstm")), True)
    assert start["checkpoint"] == (runs("lstm") / "best").resolve().name
    for name in ("README.md", "report.html"):
        text = (tmp_path / "small" / name).read_text()
        assert f"Started from the weights of {runs('lstm')}, compressed: all " in text and ".tmp-" not in text
    # nothing but the run is left where it stands
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_finetuning_that_the_settings_do_not_allow(tiny_corpus, kill, tmp_path):
    averaged = ["training.optimizer=nt-asgd", "training.optimizer.trigger_window=3", "training.epochs=4"]
    run = kill(trained(tmp_path / "run", tiny_corpus, "model.hidden_sizes=[10]", *averaged), **{"layer0.hidden": 2})
    with pytest.raises(UserError, match=r"--finetune-epochs -1: training.epochs: must be at least 1"):
        compress(run, tmp_path / "small", finetune_epochs=-1)
    assert not (tmp_path / "small").exists()
    # a window that looks further back than these epochs becomes shorter
    lines = []
    compress(run, tmp_path / "small", finetune_epochs=3, log=lines.append)
    assert "--finetune-epochs 3 brings with it training.optimizer.trigger_window=2" in lines
    settings = json.loads((tmp_path / "small" / "config.json").read_text())["experiment"]["training"]
    assert (settings["epochs"], settings["optimizer"]["trigger_window"]) == (3, 2)


def test_a_size_at_which_nothing_would_pass_through_a_layer(runs):
    """One unit of the upper layer alone reads the lower one, and the loss hardly depends on it."""
    lm = load(runs("lstm"))
    weights = dict(lm.model.named_parameters())
    with torch.no_grad():
        weights["stack.layers.1.weight_ih"].view(4, 9, 10)[:, :8] = 0
        weights["stack.layers.1.weight_hh"].view(4, 9, 9)[:, :8, 8] = 0
        weights["stack.layers.1.bias"].uniform_(-1, 1)
        weights["head.weight"][:, 8] *= 1e-3
    with pytest.raises(UserError, match="--to parameters=150: with so few units, nothing would pass through"):
        units_to_remove(lm.model, to=("parameters", 150), text=validation(lm))


def test_a_limit_that_cannot_take_effect_or_counts_in_spite_of_force(runs, tmp_path):
    with pytest.raises(UserError, match="--max-loss cannot take effect with --finetune-epochs"):
        compress(runs("lstm"), tmp_path / "x", to=("parameters", "50%"), max_loss=0.0, finetune_epochs=1)
    assert not (tmp_path / "x").exists()
    cost, asked = Cost(10.0, 12.0, "the text"), Request(None, ("parameters", "50%"), 0.1)
    remedy = "ask for a larger model, or raise --max-loss, or leave it out and give --force or --finetune-epochs"
    with pytest.raises(UserError, match=f"--max-loss allows 10% more; nothing was written; {remedy}"):
        accepted(cost, asked, whatever=True)
    assert accepted(cost, asked._replace(max_loss=None), whatever=True) is cost


def test_a_broken_validation_text_is_no_missing_one(runs, tiny_corpus, tmp_path):
    text = tmp_path / "text"
    shutil.copytree(tiny_corpus, text)
    (valid,) = text.glob("*valid*")
    for content, cause in ((b"caf\xe9 x\n" * 50, "invalid UTF-8"), (b"", "empty")):
        valid.write_bytes(content)
        with pytest.raises(DataError, match=cause):
            compress(runs("lstm"), tmp_path / "x", to=("parameters", "50%"), data=str(text))
    valid.unlink()
    lines = []
    compress(runs("lstm"), tmp_path / "x", to=("parameters", "80%"), data=str(text), force=True, log=lines.append)
    assert any("has no validation text" in line for line in lines)


def test_sizes_and_ranks_of_nothing(runs, tmp_path):
    for options, cause in (
        ({"to": ("parameters", 0.5)}, "must be at least 1; a share is a percentage such as 50%"),
        ({"embedding_rank": "0%"}, "--embedding rank=0%: a percentage must be more than 0%"),
        ({"to": ("bytes", 1)}, r"--to bytes=1: bytes cannot go below [\d,]+, of which [\d,]+ are the header"),
    ):
        with pytest.raises(UserError, match=cause):
            compress(runs("lstm"), tmp_path / "x", **options)


def test_a_place_that_is_taken(runs, tmp_path, tree):
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "mine.txt").write_text("x")
    with pytest.raises(CheckpointError, match=r"exists already and holds other files than those of a run; .* --out$"):
        compress(runs("lstm"), tmp_path / "small")
    with pytest.raises(CheckpointError, match="holds other files than those of a run"):
        compress(runs("lstm"), tmp_path / "small", force=True)
    assert tree(tmp_path) == {"small/mine.txt": tree(tmp_path)["small/mine.txt"]}


@pytest.mark.parametrize("place", [".", "inside", "checkpoints", ".."])
def test_the_run_itself_is_never_written_to(runs, tmp_path, tree, place):
    run = shutil.copytree(runs("lstm"), tmp_path / "run", symlinks=True)
    before = tree(tmp_path)
    for source in (run, run / "best"):
        with pytest.raises(UserError, match=r"overlaps with .*run, which must not be changed"):
            compress(source, run / place, force=True)
    assert tree(tmp_path) == before


def test_an_old_run_stays_until_the_new_one_is_complete(runs, tmp_path, tree, monkeypatch):
    old = shutil.copytree(runs("lstm"), tmp_path / "small", symlinks=True)
    (old / "mine.txt").write_text("mine")
    before = tree(tmp_path)

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(importlib.import_module("refrain.studies.compress"), "figures_of", stop)
        with pytest.raises(KeyboardInterrupt):
            compress(runs("lstm"), old, force=True)
    assert tree(tmp_path) == before and [path.name for path in tmp_path.iterdir()] == ["small"]
    compress(runs("lstm"), old, force=True)
    assert (old / "mine.txt").read_text() == "mine" and "compressed" in (old / "README.md").read_text()
    assert load(old).folder.name == "step-000000001" and [path.name for path in tmp_path.iterdir()] == ["small"]


@pytest.mark.parametrize("count", [1, 4, 8])
def test_an_old_run_comes_back_if_the_new_one_cannot_be_moved(runs, tmp_path, tree, monkeypatch, count):
    old = shutil.copytree(runs("lstm"), tmp_path / "small", symlinks=True)
    before, moved, rename = tree(tmp_path), [], Path.rename

    def failing(path, target):
        moved.extend(each for each in (path, target) if each.parent == old)
        if len(moved) == count:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", failing)
        with pytest.raises(UnwritableError, match=r"small: cannot be replaced \(Permission denied\); choose another"):
            compress(runs("lstm"), old, force=True)
    after = {name: found for name, found in tree(tmp_path).items() if not name.endswith(".lock")}
    assert after == {name: found for name, found in before.items() if not name.endswith(".lock")}


def test_a_text_that_would_be_replaced_is_refused(runs, tmp_path, tree):
    old = shutil.copytree(runs("lstm"), tmp_path / "small", symlinks=True)
    (old / "samples" / "text.txt").write_text("ant bee\n")
    before = tree(tmp_path)
    with pytest.raises(UserError, match=r"text.txt is also read, so it is never replaced; choose another folder"):
        compress(runs("lstm"), old, data=str(old / "samples" / "text.txt"), force=True)
    assert tree(tmp_path) == before


def test_text_of_ones_own_and_a_text_of_a_few_tokens(runs, tmp_path, write):
    found = compress(runs("lstm"), tmp_path / "small", data=str(write("mine.txt", "ant bee fox\n")))
    assert found["max_abs_difference"] < 1e-12 and found["after"]["perplexity"] > 1


def test_a_model_that_computes_something_else_is_found_out(runs, monkeypatch):
    masked, other = load(runs("lstm")).model, load(runs("lstm")).model
    text = torch.arange(200) % 8
    assert set(prove(masked, other, text).values()) == {0.0}
    # a log-probability that is not a number, in one of the parts that are compared, but not in the first of them
    spoilt = copy.deepcopy(other)
    spoilt.embedding.weight.data[7] = torch.nan
    monkeypatch.setattr(torch, "randint", lambda high, size, generator: torch.zeros(size, dtype=torch.int64))
    late = torch.cat([torch.zeros(10, 10, dtype=torch.int64), torch.full((10, 10), 7)], dim=1).flatten()
    with pytest.raises(CheckpointError, match="off by nan"):
        prove(masked, spoilt, late)
    with torch.no_grad():
        other.head.bias[0] += 1e-3
    with pytest.raises(CheckpointError, match=r"does not compute the same as the masked one.*nothing was written"):
        prove(masked, other, text)


@pytest.mark.parametrize(
    ("split", "count", "name"),
    [
        ("valid", 720, "the validation text of tiny (20 streams side by side)"),
        ("test", 40, "the test text of tiny (one stream)"),
        ("all", 200_001, "the first 200,000 tokens of the text of tiny (20 streams side by side)"),
    ],
)
def test_the_text_is_named_with_how_it_is_read(split, count, name):
    """The perplexity of an evaluation, in one stream, is another."""
    tokens = torch.zeros(count, dtype=torch.int32)
    corpus = SimpleNamespace(name="tiny", splits={split: SimpleNamespace(tokens=tokens)})
    assert beginning_of(corpus, split).name == name
