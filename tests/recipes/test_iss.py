"""The sparse recipes have the published settings, sizes and penalties."""

import numpy as np
import pytest
import torch

from refrain import assembly, recipe
from refrain.assembly.sparsity import build_sparsifier
from refrain.assembly.task import build_schedule
from refrain.config.sparsity import sized
from refrain.sparsity import model_size, multiply_adds

CELLS = [f"Model/RNN/multi_rnn_cell/cell_{i}/basic_lstm_cell/weights" for i in range(2)]


def on_paper(*settings):
    """The large model with other settings, without memory for its weights."""
    with torch.device("meta"):
        return assembly.build_model(recipe("zaremba-large", *settings).model, 10_000)


# V * 1500 + (1500 + h1) * 4 h1 + (h1 + h2) * 4 h2 + h2 * V + V, and one bias a layer: 4 h1 + 4 h2. With two biases it
# would be 2,752 and 3,664 more than the published 21.8 and 25.2 million come to
SIZES = {(373, 315): (21_824_148, 7.49), (381, 535): (25_190_548, 5.01), (1500, 1500): (66_022_000, 1.0)}


@pytest.mark.parametrize("sizes", SIZES)
def test_sizes_that_group_lasso_found(sizes):
    wanted, ratio = SIZES[sizes]
    small, dense = on_paper(f"model.hidden_sizes={list(sizes)}"), on_paper()
    assert sum(parameter.numel() for parameter in small.parameters()) == wanted
    counts = [multiply_adds(model.axes(), model.widths()) for model in (dense, small)]
    assert counts[0] == 2 * 3000 * 6000 + 1500 * 10_000
    assert counts[0] / counts[1] == pytest.approx(ratio, abs=0.005)


def test_the_recipe_of_the_direct_design_has_these_sizes():
    experiment = recipe("zaremba-large-373-315")
    assert (experiment.model.embedding_size, experiment.model.hidden_sizes) == (1500, (373, 315))
    # keep 0.55 on the preset for the dense model
    assert experiment.model.dropout == pytest.approx(1 - 0.55)
    assert experiment.training == recipe("zaremba-large").training
    assert not experiment.sparsity.active()


@pytest.mark.parametrize("name", ["zaremba-large-l1", "zaremba-large-iss"])
def test_the_preset_for_sparse_models(name):
    experiment = recipe(name)
    model, training, sparsity = experiment.model, experiment.training, experiment.sparsity
    assert (model.init.scale, model.embedding_size, model.hidden_sizes, model.dropout) == (
        0.04,
        1500,
        (1500, 1500),
        pytest.approx(1 - 0.60),
    )
    assert (training.epochs, training.batch_size, training.window_steps) == (55, 20, 35)
    assert (training.learning_rate, training.max_norm, training.loss_scale) == (1.0, 10.0, "sum-over-time")
    schedule = build_schedule(training.schedule)
    rates = [schedule.factor(epoch, 0.0) for epoch in range(55)]
    assert rates == pytest.approx([0.1 ** (epoch // 18) for epoch in range(55)])
    assert sparsity.zeros.kind == "threshold"


def test_strengths_and_thresholds():
    l1, iss = recipe("zaremba-large-l1").sparsity, recipe("zaremba-large-iss").sparsity
    assert (l1.l1.strength, l1.zeros.threshold, l1.group_lasso) == (0.0001, max(0.0001, 2 * 0.0001), None)
    assert (iss.l1, iss.zeros.threshold, iss.group_lasso.strength) == (None, max(0.0001, 2 * 0.0), 0.00245)


def as_there(model):
    """Our weights in the shapes and under the names of the TensorFlow program."""
    ours = {name: parameter.detach().double().numpy() for name, parameter in model.named_parameters()}
    there = {"Model/embedding": ours["embedding.weight"]}
    for i, name in enumerate(CELLS):
        layer = f"stack.layers.{i}"
        there[name] = np.concatenate([ours[f"{layer}.weight_ih"].T, ours[f"{layer}.weight_hh"].T])
        there[name.replace("weights", "biases")] = ours[f"{layer}.bias"]
    return there | {"Model/softmax_w": ours["head.weight"].T, "Model/softmax_b": ours["head.bias"]}


def structures(kernel, coupled, parts):
    """The sum of norms of a layer's structures, written from the description of the program."""
    rows, columns = (kernel**2).sum(1), (kernel**2).sum(0)
    width = len(columns) // 4
    gates = columns.reshape(4, width).sum(0)
    read = (coupled**2).sum(1)[: len(coupled) // parts]
    return np.sqrt(gates + rows[-width:] + read + 1e-8).sum()


def penalty(name, *settings):
    torch.manual_seed(1)
    experiment = recipe(name, "model.embedding_size=6", "model.hidden_sizes=[6,6]", *settings)
    model = assembly.build_model(experiment.model, 11)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return build_sparsifier(experiment, model, 10).loss(None).item(), as_there(model)


def test_group_lasso_is_that_of_the_program():
    found, there = penalty("zaremba-large-iss")
    wanted = structures(there[CELLS[0]], there[CELLS[1]], 2) + structures(there[CELLS[1]], there["Model/softmax_w"], 1)
    assert found == pytest.approx(0.00245 * wanted, rel=1e-6)


def test_l1_is_that_of_the_program():
    found, there = penalty("zaremba-large-l1")
    # everything but what is made first
    wanted = sum(np.abs(value).sum() for name, value in there.items() if name != "Model/embedding")
    assert found == pytest.approx(0.0001 * wanted, rel=1e-6)


def test_rows_and_columns_are_those_of_the_program():
    words = ["sparsity.l1=none", "sparsity.row_lasso.strength=0.003", "sparsity.column_lasso.strength=0.003"]
    found, there = penalty("zaremba-large-l1", *words, 'sparsity.column_lasso.on=["stack.*","head.weight"]')
    wanted = sum(np.sqrt((there[name] ** 2).sum(axis) + 1e-8).sum() for name in CELLS for axis in (0, 1))
    wanted += np.sqrt((there["Model/softmax_w"] ** 2).sum(1) + 1e-8).sum()
    assert found == pytest.approx(0.003 * wanted, rel=1e-6)


def test_strengths_follow_the_scale_of_the_loss():
    found, _ = penalty("zaremba-large-iss")
    scaled, _ = penalty("zaremba-large-iss", "training.loss_scale=mean-over-tokens")
    assert scaled == pytest.approx(found / 35, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "measure", "share"),
    [
        ("zaremba-small-iss", "multiply_adds", 0.52),
        ("zaremba-medium-iss", "layer_multiply_adds", 0.4),
        ("awd-lstm-ptb-iss", "parameters", 0.5),
    ],
)
def test_our_recipes_aim_at_a_share_of_the_dense_model(name, measure, share):
    experiment, dense = recipe(name), recipe(name.removesuffix("-iss"))
    assert experiment.model.model_copy(update={"dropout": dense.model.dropout}) == dense.model
    with torch.device("meta"):
        model = assembly.build_model(experiment.model, 10_000)
    whole = {
        "multiply_adds": multiply_adds(model.axes(), model.widths()),
        # two layers of 4 gates that read twice their width
        "layer_multiply_adds": 2 * 4 * 650 * (2 * 650),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }[measure]
    chosen, target = experiment.sparsity.target.chosen()
    assert chosen == measure and whole == model_size(measure, model.axes(), model.widths())
    assert sized(target, whole) / whole == pytest.approx(share, abs=1e-3)
