"""Settings of predefined sparseness: which layers become sparse, and what is refused."""

import pytest

from refrain import recipe
from refrain.assembly.model import build_model
from refrain.assembly.sparse_layers import layer_plans
from refrain.errors import UserError
from refrain.nn import LSTM, SparseEmbedding, SparseLSTM

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
    found = plans(f"model.sparse_layers={mode}", "model.sparse_fraction=0.5")
    assert [plan and plan.wanted for plan in found] == wanted


def test_a_single_layer_has_no_hidden_widths_to_reduce():
    settings = ("model.hidden_sizes=[24]", "model.sparse_layers=hidden", "model.sparse_fraction=0.5")
    assert plans(*settings) == [None]


def test_direct_layers_have_the_blocks_that_were_asked_for():
    found = plans("model.sparse_layers=direct", "model.sparse_blocks=3", "model.sparse_density=0.5")
    assert [len(plan.blocks) for plan in found] == [3, 3, 3] and {plan.density for plan in found} == {0.5}


def test_a_model_is_built_of_them():
    words = ("model.sparse_layers=embedding", "model.sparse_fraction=0.5", "model.weight_drop=0.3")
    bands = ("model.embedding_blocks=4", "model.embedding_density=0.5")
    model = build_model(recipe("zaremba-small", *SHAPE, *words, *bands).model, 100)
    assert [type(layer) for layer in model.stack.layers] == [SparseLSTM, LSTM, SparseLSTM]
    assert isinstance(model.embedding, SparseEmbedding)
    assert all(block.recurrent_transform.rate == 0.3 for block in model.stack.layers[0].blocks)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("model.sparse_layers=all",), "sparse_fraction: must be given where sparse_layers is 'all'"),
        (("model.sparse_fraction=0.5",), "sparse_fraction: cannot take effect where sparse_layers is 'none'"),
        (("model.sparse_layers=direct", "model.sparse_blocks=3"), "sparse_density: must be given"),
        (("model.cell=gru", "model.sparse_layers=all", "model.sparse_fraction=0.5"), "sparse layers are LSTMs"),
        (("model.embedding_density=0.5",), "raise embedding_blocks"),
        (("data.order_seed=3",), "order_seed: cannot take effect where order is 'descending'"),
        (("training.stop_accuracy=0.9",), "stop_accuracy: needs train_accuracy"),
        (("training.momentum=0.9", "training.optimizer=adam"), "momentum: cannot take effect"),
    ],
)
def test_settings_that_cannot_take_effect_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        plans(*settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ("model.sparse_layers=all", "model.sparse_fraction=0.05"),
            r"model.sparse_fraction: layer 0: reduce_in, reduce_out: .* in at most 19 blocks",
        ),
        (
            ("model.sparse_layers=direct", "model.sparse_blocks=21", "model.sparse_density=0.5"),
            "model.sparse_blocks: must be 1 to 20 for widths 20 and 24",
        ),
        (
            ("model.sparse_layers=direct", "model.sparse_blocks=3", "model.sparse_density=0.2"),
            "model.sparse_density: must be 1 / blocks",
        ),
        (("model.embedding_blocks=21", "model.embedding_density=0.5"), "model.embedding_blocks: must be 1 to 20"),
        (("model.embedding_blocks=4", "model.embedding_density=0.1"), "model.embedding_density: must be 1 / blocks"),
    ],
)
def test_what_cannot_be_planned_is_refused_by_its_name(settings, message):
    with pytest.raises(UserError, match=message):
        build_model(recipe("zaremba-small", *SHAPE, *settings).model, 100)
