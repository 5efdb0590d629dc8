"""The bias of a recurrent layer starts as one uniform draw, or as the sum of two, as in torch.nn.LSTM."""

import math

import pytest
import torch

from refrain import recipe
from refrain.assembly.model import build_model
from refrain.assembly.tagger import build_tagger
from refrain.config import Model, SparseLSTMCell, StandardInit, TaggerModel, UniformPlan
from refrain.data import TagVocabulary

V, D, H = 20, 30, 60
DRAWS = 40
TWO = StandardInit(biases=2)


def biases(build, parts=1):
    """The entries of a recurrent bias in several draws, (DRAWS, parts, entries of a part)."""
    torch.manual_seed(1)
    models = [build() for _ in range(DRAWS)]
    recurrent = [
        next(value for name, value in model.state_dict().items() if name.startswith("stack") and name.endswith("bias"))
        for model in models
    ]
    return torch.stack(recurrent).unflatten(1, (parts, -1)).double()


def language_model(**settings):
    return build_model(Model(embedding_size=D, hidden_sizes=(H,), **settings), V)


def check(values, hidden, draws):
    """The variance of a sum of draws from U(-1/sqrt(H), 1/sqrt(H)), within five standard errors, and its bound."""
    variance = draws / (3 * hidden)
    # the fourth moment of the sum of n uniform draws over the square of its variance is 3 - 1.2 / n
    error = 5 * math.sqrt((2 - 1.2 / draws) / values.numel())
    assert float(values.square().mean()) == pytest.approx(variance, rel=error)
    assert float(values.abs().max()) <= draws / math.sqrt(hidden)
    assert float(values.mean()) == pytest.approx(0, abs=5 * math.sqrt(variance / values.numel()))


@pytest.mark.parametrize("cell", ["lstm", "multiplicative-lstm"])
@pytest.mark.parametrize("count", [1, 2])
def test_the_bias_of_an_lstm_is_the_sum_of_as_many_draws(cell, count):
    check(biases(lambda: language_model(cell=cell, init=StandardInit(biases=count))), H, count)


def test_two_draws_are_distributed_as_the_biases_of_torch():
    ours = biases(lambda: language_model(init=TWO))
    torch.manual_seed(2)
    layers = [torch.nn.LSTM(D, H) for _ in range(DRAWS)]
    theirs = torch.stack([layer.bias_ih_l0.detach() + layer.bias_hh_l0.detach() for layer in layers]).double()
    # one bias has 0.71 of this standard deviation
    assert float(ours.std() / theirs.std()) == pytest.approx(1, abs=0.03)


def test_the_candidate_of_a_gru_has_one_draw():
    gates = biases(lambda: language_model(cell="gru", init=TWO), parts=3)
    check(gates[:, :2], H, 2)
    check(gates[:, 2], H, 1)


def test_a_gru_with_both_biases_draws_them_as_torch_does():
    """The gates' biases act as their sum; the candidate has both, one draw each."""
    model = language_model(cell={"kind": "gru", "recurrent_bias": True}, init=TWO)
    layer = model.stack.layers[0]
    bound = 1 / H**0.5
    assert layer.bias_hn.abs().max() <= bound and layer.bias_hn.abs().max() > 0
    assert layer.bias[2 * H :].abs().max() <= bound


def test_each_block_of_a_sparse_layer_draws_by_its_own_width():
    cell = SparseLSTMCell(plan=UniformPlan(blocks=4, density=0.5))
    check(biases(lambda: language_model(cell=cell, init=TWO)), H // 4, 2)


def test_nothing_but_recurrent_biases_changes():
    def drawn(init):
        torch.manual_seed(3)
        return language_model(init=init).state_dict()

    one, two = drawn(StandardInit()), drawn(TWO)
    assert [name for name in one if not torch.equal(one[name], two[name])] == ["stack.layers.0.bias"]


def test_both_directions_of_a_tagger():
    vocabulary = TagVocabulary(["<unk>", "a"], ["N", "V"])

    def drawn(init):
        torch.manual_seed(3)
        return build_tagger(TaggerModel(embedding_size=3, hidden_sizes=(H,), init=init), vocabulary).state_dict()

    one, two = drawn(StandardInit()), drawn(TWO)
    changed = [name for name in one if not torch.equal(one[name], two[name])]
    assert changed == ["layers.0.ahead.bias", "layers.0.back.bias"]


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("awd-lstm-ptb", 2),
        ("awd-lstm-wikitext2", 2),
        ("awd-lstm-mos-ptb", 2),
        ("sparse-awd-ptb", 2),
        ("recite-dense", 2),
        ("recite-dense-reduced", 2),
        ("recite-sparse1", 2),
        ("recite-sparse2", 2),
        ("pos-dense", 2),
        ("pos-sparse", 2),
        ("pos-sparse-descending", 2),
        ("pos-default", 1),
        ("quickstart", 1),
    ],
)
def test_recipes_of_systems_with_two_biases_start_as_these_do(name, count):
    assert recipe(name).model.init == StandardInit(biases=count)
