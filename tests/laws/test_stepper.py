"""A stepper computes what its model computes, for any number of streams, in float32 and on rounded weights."""

import copy

import pytest
import torch
from table import MODELS, V, bands_tied, bands_tied_of_ranks, bands_untied

from refrain.models import LanguageModel, Stepper
from refrain.nn import (
    GRU,
    LSTM,
    AdaptiveHead,
    Embedding,
    LockedDropout,
    MultiplicativeLSTM,
    RecurrentStack,
    SoftmaxHead,
    SparseEmbedding,
    SparseLSTM,
    SparseSoftmaxHead,
    WeightDropout,
    WeightNorm,
    plan_bands,
    plan_blocks,
)
from refrain.nn.kernels import compile as native
from refrain.nn.kernels.integer import lanes
from refrain.nn.kernels.packed_linear import round_weights
from refrain.nn.kernels.streams import SMALL_BATCH, SMALL_INTEGER_BATCH

# around the kernels' tiles of 4 streams and the change to matrix products
STREAMS = [1, 2, 4, 7, SMALL_BATCH, SMALL_BATCH + 1, 40]
CLOSE = {"atol": 1e-5, "rtol": 0}


def wide(cell):
    """Widths beyond a vector register and beyond a block of units, with rests of both."""
    torch.manual_seed(2)
    layers = RecurrentStack([cell(21, 70), cell(70, 43)])
    return LanguageModel(Embedding(V, 21), layers, SoftmaxHead(43, V))


def adaptive():
    return LanguageModel(Embedding(V, 5), RecurrentStack([LSTM(5, 8)]), AdaptiveHead(8, V, cutoffs=[4], division=2.0))


def sparse():
    torch.manual_seed(2)
    layers = RecurrentStack([SparseLSTM(plan_blocks(30, 50, blocks=3, density=0.5)), LSTM(50, 18)])
    return LanguageModel(Embedding(V, 30), layers, SoftmaxHead(18, V))


def sparse_words():
    torch.manual_seed(2)
    words = SparseEmbedding(V, plan_bands(V, 8, blocks=2, density=0.7))
    return LanguageModel(words, RecurrentStack([LSTM(8, 8)]), SparseSoftmaxHead(words))


ALL = {
    **MODELS,
    "adaptive": adaptive,
    "sparse": sparse,
    "sparse words": sparse_words,
    "bands, untied": bands_untied,
    "bands, tied": bands_tied,
    "bands, tied, of ranks": bands_tied_of_ranks,
    "wide LSTM": lambda: wide(LSTM),
    "wide GRU": lambda: wide(GRU),
    "wide multiplicative": lambda: wide(MultiplicativeLSTM),
}


@pytest.fixture(params=ALL, ids=str)
def any_model(request):
    torch.manual_seed(5)
    model = ALL[request.param]()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                # biases that are not zero, so that one in a wrong place is seen
                parameter.uniform_(-1, 1)
    return model


def ids_for(streams, steps=9):
    return torch.randint(V, (steps + 1, streams), generator=torch.Generator().manual_seed(streams))


def random_state(model, streams):
    generator = torch.Generator().manual_seed(3)
    return tuple(
        type(part)(*(torch.randn(t.shape, generator=generator) for t in part)) for part in model.initial_state(streams)
    )


def check_the_same(stepper, model, streams):
    ids = ids_for(streams)
    other = random_state(model, streams)
    # steps of many streams round their inputs, where the processor has products of integers
    rounds = stepper.weights == "int8" and lanes() and streams > SMALL_INTEGER_BATCH
    close = {"atol": 0.03, "rtol": 0} if rounds else CLOSE
    for token in ids:
        found, state = stepper.step(token, other)
        wanted, other = model.step(token, other)
        torch.testing.assert_close(found, wanted, **close)
        torch.testing.assert_close(state, other, **close)
    found, state = stepper.token_nats(ids[:-1], ids[1:], random_state(model, streams))
    wanted, other = model.token_nats(ids[:-1], ids[1:], random_state(model, streams))
    torch.testing.assert_close(found, wanted, **CLOSE)
    torch.testing.assert_close(state, other, **CLOSE)


@pytest.mark.parametrize("streams", STREAMS)
def test_it_equals_the_model(any_model, streams):
    check_the_same(Stepper(any_model), any_model, streams)


@pytest.mark.parametrize("streams", STREAMS)
def test_on_int8_weights_it_equals_the_model_with_rounded_weights(any_model, streams):
    rounded = copy.deepcopy(any_model)
    round_weights(rounded)
    check_the_same(Stepper(any_model, weights="int8"), rounded, streams)
    # rounding what is rounded changes nothing
    check_the_same(Stepper(rounded, weights="int8"), rounded, streams)


@pytest.mark.parametrize("name", ["wide LSTM", "wide GRU", "wide multiplicative", "mixture"])
def test_without_a_compiler_it_is_the_same(monkeypatch, name):
    monkeypatch.setattr(native, "load", lambda name: None)
    model = ALL[name]()
    check_the_same(Stepper(model), model, 3)


@pytest.mark.compiler
def test_the_kernels_are_used():
    stepper = Stepper(wide(LSTM))
    assert [type(layer).__name__ for layer in stepper._layers] == ["PackedLSTM"] * 2
    assert stepper._output is not None


@pytest.mark.compiler
@pytest.mark.parametrize("build", [bands_untied, bands_tied, bands_tied_of_ranks])
def test_bands_of_words_are_packed_and_many_texts_are_scored(build):
    torch.manual_seed(1)
    stepper, ids = Stepper(build(), weights="int8"), ids_for(3)
    assert stepper.unpacked == []
    wanted, _ = stepper.token_nats(ids[:-1], ids[1:], stepper.initial_state(3))
    found, state = stepper.scorer.token_nats(ids[:-1], ids[1:], stepper.initial_state(3))
    # layers round their inputs, as the scorer has products of integers where the processor has them
    torch.testing.assert_close(found, wanted, atol=0.02, rtol=0)
    rows, following = torch.tensor([0, 2, 2]), torch.tensor([1, V - 1, 4])
    some, _ = stepper.scorer.following_nats(ids[-1], state, rows, following)
    every, _ = stepper.step(ids[-1], state)
    torch.testing.assert_close(some, -every[rows, following], atol=0.02, rtol=0)


def test_in_float64_it_is_the_model_itself():
    model = wide(LSTM).double()
    stepper, ids = Stepper(model), ids_for(3)
    for found, wanted in zip(
        stepper.step(ids[0], model.initial_state(3)), model.step(ids[0], model.initial_state(3)), strict=True
    ):
        torch.testing.assert_close(found, wanted, atol=1e-14, rtol=0)


@pytest.mark.compiler
def test_streams_do_not_meet():
    """A stream among others has bit for bit what it has among fewer, which torch's operations do not promise."""
    model = wide(LSTM)
    stepper, ids = Stepper(model), ids_for(SMALL_BATCH)[0]
    state = random_state(model, SMALL_BATCH)
    together, after = stepper.step(ids, state)
    for stream in range(SMALL_BATCH):
        alone = tuple(type(part)(*(t[stream : stream + 1] for t in part)) for part in state)
        found, left = stepper.step(ids[stream : stream + 1], alone)
        assert torch.equal(found[0], together[stream])
        assert torch.equal(left[1].cell[0], after[1].cell[stream])


def test_a_state_is_zero_before_the_token_that_resets_it():
    model = wide(LSTM)
    model.reset_before = 3
    check_the_same(Stepper(model), model, 2)


def test_transforms_and_dropout_are_those_of_evaluation():
    dropout = LockedDropout(0.5)
    layers = [
        LSTM(20, 24, input_transform=WeightNorm(96), recurrent_transform=WeightDropout(0.5)),
        MultiplicativeLSTM(24, 20, transforms={"weight_hm": WeightNorm(20)}),
    ]
    words = Embedding(V, 20)
    model = LanguageModel(
        words,
        RecurrentStack(layers, between=dropout),
        SoftmaxHead(20, V, weight=words.weight),
        embedding_dropout=dropout,
        output_dropout=dropout,
    ).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    stepper = Stepper(model)
    assert model.training
    torch.testing.assert_close(dict(model.state_dict()), before, atol=0, rtol=0)
    check_the_same(stepper, model.eval(), 3)


def test_it_is_a_snapshot_that_knows_when_it_is_old():
    model = wide(LSTM)
    stepper, ids = Stepper(model), ids_for(2)[0]
    wanted, _ = stepper.step(ids, model.initial_state(2))
    assert stepper.is_current
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert not stepper.is_current
    found, _ = stepper.step(ids, model.initial_state(2))
    assert torch.equal(found, wanted)


def test_windows_go_on_where_the_last_ended():
    """From states, too, that do not lie in memory as a kernel wants them; they stay as they are."""
    model = wide(LSTM)
    stepper, ids = Stepper(model), ids_for(3)
    apart = tuple(type(part)(*(t.T.contiguous().T for t in part)) for part in random_state(model, 3))
    before = [t.clone() for part in apart for t in part]
    whole, after = stepper.hidden(ids, apart)
    pieces, state = [], apart
    for window in ids.split([1, 4, 5]):
        outputs, state = stepper.hidden(window, state)
        pieces.append(outputs.raw)
    torch.testing.assert_close(torch.cat(pieces), whole.raw, **CLOSE)
    torch.testing.assert_close(state, after, **CLOSE)
    assert all(torch.equal(a, b) for a, b in zip(before, (t for part in apart for t in part), strict=True))


def test_inputs_that_do_not_fit_are_refused():
    model = wide(LSTM)
    stepper = Stepper(model)
    with pytest.raises(ValueError, match="state has shape"):
        stepper.step(ids_for(2)[0], model.initial_state(3))
    with pytest.raises(IndexError):
        stepper.step(torch.tensor([V]), model.initial_state(1))
    # without kernels torch says so
    with pytest.raises((IndexError, RuntimeError), match=r"target|out of bounds"):
        stepper.token_nats(torch.tensor([[0]]), torch.tensor([[V]]), model.initial_state(1))


def test_weights_that_are_not_finite_are_reported():
    model = wide(LSTM)
    with torch.no_grad():
        model.head.weight[3, 2] = torch.nan
    found, _ = Stepper(model).step(torch.tensor([1]), model.initial_state(1))
    assert found.isnan().all()
    with torch.no_grad():
        model.head.weight[3, 2] = 1e30
    found, _ = Stepper(model).step(torch.tensor([1]), random_state(model, 1))
    wanted, _ = model.step(torch.tensor([1]), random_state(model, 1))
    torch.testing.assert_close(found, wanted)


@pytest.mark.compiler
@pytest.mark.parametrize("streams", [2, SMALL_BATCH + 1])
@pytest.mark.parametrize("cell", [LSTM, GRU, MultiplicativeLSTM])
def test_autocast_does_not_round_what_kernels_read(cell, streams):
    stepper = Stepper(wide(cell).eval())
    ids = torch.randint(V, (6, streams), generator=torch.Generator().manual_seed(1))
    start = stepper.initial_state(streams)
    expected = [stepper.step(ids[0], start)[0], stepper.token_nats(ids[:-1], ids[1:], start)[0]]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = [stepper.step(ids[0], start)[0], stepper.token_nats(ids[:-1], ids[1:], start)[0]]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, **CLOSE)
