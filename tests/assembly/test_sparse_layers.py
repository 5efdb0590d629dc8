"""Settings of predefined sparseness: which layers become sparse, and what is refused."""

import pytest

from refrain import recipe
from refrain.assembly.model import build_model
from refrain.assembly.sparse_layers import layer_plans
from refrain.errors import UserError
from refrain.nn import LSTM, SparseEmbedding, SparseLSTM

FRACTION = ("model.cell=sparse-lstm", "model.cell.plan=fraction")
UNIFORM = ("model.cell=sparse-lstm", "model.cell.plan=uniform")
SHAPE = ("model.embedding_size=20", "model.hidden_sizes=[24,30,18]")


def plans(*settings):
    return layer_plans(recipe("zaremba-small", *SHAPE, *settings).model)


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [
        ("hidden", [(20, 12), (12, 15), (15, 18)]),
        ("embedding", [(10, 24), None, (30, 9)]),
        ("all", [(10, 12), (12, 15), (15, 9)]),
    ],
)
def test_each_mode_reduces_its_widths(mode, wanted):
    found = plans(*FRACTION, f"model.cell.plan.of={mode}", "model.cell.plan.fraction=0.5")
    assert [plan and plan.requested for plan in found] == wanted


def test_a_single_layer_has_no_hidden_widths_to_reduce():
    assert plans("model.hidden_sizes=[24]", *FRACTION, "model.cell.plan.fraction=0.5") == [None]


def test_direct_layers_have_the_blocks_that_were_asked_for():
    found = plans(*UNIFORM, "model.cell.plan.blocks=3", "model.cell.plan.density=0.5")
    assert [len(plan.blocks) for plan in found] == [3, 3, 3] and {plan.density for plan in found} == {0.5}


def test_a_model_is_built_of_them():
    words = (*FRACTION, "model.cell.plan.of=embedding", "model.cell.plan.fraction=0.5", "model.weight_drop=0.3")
    bands = ("model.embedding=sparse", "model.embedding.blocks=4", "model.embedding.density=0.5")
    model = build_model(recipe("zaremba-small", *SHAPE, *words, *bands).model, 100)
    assert [type(layer) for layer in model.stack.layers] == [SparseLSTM, LSTM, SparseLSTM]
    assert isinstance(model.embedding, SparseEmbedding)
    assert all(block.recurrent_transform.rate == 0.3 for block in model.stack.layers[0].blocks)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (FRACTION, "model.cell.plan.fraction: must be given where model.cell.plan is 'fraction'"),
        (("model.cell.plan.fraction=0.5",), "cell 'lstm' has no such setting; it belongs to 'sparse-lstm'"),
        ((*UNIFORM, "model.cell.plan.blocks=3"), "model.cell.plan.density: must be given where model.cell.plan is"),
        (("model.cell=gru", "model.cell.plan=fraction"), "cell 'gru' has no such setting; it belongs to 'sparse-lstm'"),
        (("model.embedding.density=0.5",), "embedding 'dense' has no such setting; it belongs to 'sparse'"),
        (("data.order_seed=3",), "order_seed: cannot take effect where order is 'descending'"),
        (("training.stop_accuracy=0.9",), "stop_accuracy: needs train_accuracy"),
        (
            ("training.optimizer.momentum=0.9", "training.optimizer=adam"),
            "optimizer 'adam' has no such setting; it belongs to 'sgd'",
        ),
    ],
)
def test_settings_that_cannot_take_effect_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        plans(*settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            (*FRACTION, "model.cell.plan.of=all", "model.cell.plan.fraction=0.05"),
            r"model.cell.plan.fraction: layer 0: reduce_in, reduce_out: .* in at most 19 blocks",
        ),
        (
            (*UNIFORM, "model.cell.plan.blocks=21", "model.cell.plan.density=0.5"),
            "model.cell.plan.blocks: must be 1 to 20 for widths 20 and 24",
        ),
        (
            (*UNIFORM, "model.cell.plan.blocks=3", "model.cell.plan.density=0.2"),
            "model.cell.plan.density: must be 1 / blocks",
        ),
        (
            ("model.embedding=sparse", "model.embedding.blocks=21", "model.embedding.density=0.5"),
            "model.embedding.blocks: must be 1 to 20",
        ),
        (
            ("model.embedding=sparse", "model.embedding.blocks=4", "model.embedding.density=0.1"),
            "model.embedding.density: must be 1 / blocks",
        ),
    ],
)
def test_what_cannot_be_planned_is_refused_by_its_name(settings, message):
    with pytest.raises(UserError, match=message):
        build_model(recipe("zaremba-small", *SHAPE, *settings).model, 100)
