"""Steps of many streams: the kernels equal their references, also when compiled for poorer processors."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F

from refrain.models import LanguageModel, Stepper
from refrain.nn import GRU, LSTM, Embedding, MultiplicativeLSTM, RecurrentStack, SoftmaxHead
from refrain.nn.kernels import call, integer, levels, streams
from refrain.nn.kernels import compile as native
from refrain.nn.kernels.integer import integer_linear
from refrain.nn.kernels.packed_linear import PackedLinear, pack_matrices, quantise, round_weights
from refrain.nn.kernels.streams import SMALL_BATCH, SMALL_INTEGER_BATCH, StreamGates, StreamLinear
from refrain.nn.recurrent.lstm.integer import integer_lstm_step
from refrain.nn.recurrent.lstm.layer import lstm_step
from refrain.nn.recurrent.lstm.state import LSTMState

V = 1003
# around the kernels' tiles of rows and blocks of 48
BATCHES = [5, 9, 48, 49, 131]
# beside, around and beyond registers and chunks of 128 columns, with rests
SHAPES = [(1, 1), (15, 16), (129, 70), (300, 33)]
pytestmark = pytest.mark.compiler


def forget():
    for cached in (native.load, call.kernel, integer.lanes, streams.stream_lanes):
        cached.cache_clear()


@pytest.fixture(params=["native", "avx2", "sse2"])
def machine(request, monkeypatch):
    """Kernels for this processor, for one without AVX-512 and sums of bytes, and for one without AVX."""
    if request.param == "native":
        yield request.param
        return
    if request.param not in [level.name for level in levels.available()]:
        pytest.skip("a processor without these instructions")
    monkeypatch.setenv(levels.SWITCH, request.param)
    forget()
    yield request.param
    monkeypatch.undo()
    forget()


@pytest.fixture
def _needs_integers():
    if not integer.lanes():
        pytest.skip("a processor without products of integers")


def random(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Given:
    """A matrix for the kernels."""

    def __init__(self, weight, is_rounded):
        self.weight, self.is_rounded = weight, is_rounded

    def dense(self):
        if not self.is_rounded:
            return self.weight
        multiples, scales = self.multiples()
        return multiples * scales[:, None]

    def multiples(self):
        return quantise(self.weight)


def case(width, size, batch):
    weights = random(4 * size, width, seed=2), random(4 * size, size, seed=3)
    bias, x = random(4 * size, seed=4), random(batch, width, seed=5)
    return weights, bias, x, LSTMState(random(batch, size, seed=6), random(batch, size, seed=7))


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize(("width", "size"), SHAPES)
@pytest.mark.parametrize("is_rounded", [False, True])
def test_an_lstm_is_its_step(machine, width, size, batch, is_rounded):
    weights, bias, x, state = case(width, size, batch)
    first, second = (Given(weight, is_rounded) for weight in weights)
    found = LSTMState(*StreamGates(first, second, bias)(x, *state))
    if is_rounded and integer.lanes():
        wanted = integer_lstm_step(x, state, first.multiples(), second.multiples(), bias)
    else:
        _, wanted = lstm_step(x, state, first.dense(), second.dense(), bias)
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize(("width", "rows"), [*SHAPES, (21, V)])
@pytest.mark.parametrize("is_rounded", [False, True])
def test_a_product_is_that_of_the_reference(machine, width, rows, batch, is_rounded):
    weight, x, bias = Given(random(rows, width, seed=2), is_rounded), random(batch, width), random(rows, seed=3)
    found, without = StreamLinear(weight, bias)(x), StreamLinear(weight, None)(x)
    by_integers = is_rounded and integer.lanes()
    wanted = integer_linear(x, *weight.multiples()) if by_integers else F.linear(x, weight.dense())
    torch.testing.assert_close(found, wanted + bias, atol=5e-5, rtol=1e-5)
    torch.testing.assert_close(without, wanted, atol=5e-5, rtol=1e-5)


@pytest.mark.usefixtures("_needs_integers")
def test_sums_of_integers_are_exact():
    """Scales that are powers of two leave no rounding: the result is that of whole numbers, to the last bit."""
    multiples = torch.randint(-127, 128, (70, 300), generator=torch.Generator().manual_seed(1))
    multiples[:, 0] = 127
    x = torch.randint(-127, 128, (49, 300), generator=torch.Generator().manual_seed(2))
    x[:, 0] = 127
    found = StreamLinear(Given(multiples.float() / 8, True), None)(x.float())
    assert torch.equal(found.double(), x.double() @ multiples.double().T / 8)


@pytest.mark.parametrize("is_rounded", [False, True])
def test_a_stream_does_not_depend_on_the_others_or_on_threads(machine, is_rounded):
    weights, bias, x, state = case(129, 70, 131)
    gates = StreamGates(*(Given(weight, is_rounded) for weight in weights), bias)
    together, threads = gates(x, *state), torch.get_num_threads()
    for first, last in ((0, 5), (40, 90), (130, 131)):
        part = gates(x[first:last], *(each[first:last] for each in state))
        assert all(torch.equal(one, whole[first:last]) for one, whole in zip(part, together, strict=True))
    try:
        torch.set_num_threads(3)
        assert all(torch.equal(one, other) for one, other in zip(gates(x, *state), together, strict=True))
    finally:
        torch.set_num_threads(threads)


def model(cell):
    torch.manual_seed(2)
    built = LanguageModel(Embedding(V, 21), RecurrentStack([cell(21, 70), cell(70, 43)]), SoftmaxHead(43, V))
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.uniform_(-0.5, 0.5)
    return built


def stepped(reader, batch):
    ids, state = torch.arange(5 * batch).view(5, batch) % V, reader.initial_state(batch)
    found = []
    for token in ids:
        one, state = reader.step(token, state)
        found.append(one)
    return torch.stack(found), state


@pytest.mark.parametrize("cell", [LSTM, GRU, MultiplicativeLSTM])
@pytest.mark.parametrize("batch", [SMALL_INTEGER_BATCH, SMALL_INTEGER_BATCH + 1, SMALL_BATCH + 1])
def test_a_model_with_rounded_weights(cell, batch):
    """Inputs are rounded from a number of streams on; without products of integers, they are not."""
    rounded = copy.deepcopy(model(cell))
    round_weights(rounded)
    wanted, before = stepped(rounded, batch)
    found, after = stepped(Stepper(rounded, weights="int8"), batch)
    rounds = integer.lanes() and batch > SMALL_INTEGER_BATCH
    error = (found - wanted).abs()
    assert error.max() < (0.1 if rounds else 1e-5) and (error.max() > 1e-4) == bool(rounds)
    torch.testing.assert_close(after, before, atol=0.05 if rounds else 1e-5, rtol=0)


def test_windows_never_round_inputs():
    """Perplexities of a model with int8 weights are those of the rounded model, for any number of streams."""
    for cell in (LSTM, GRU, MultiplicativeLSTM):
        rounded = model(cell)
        round_weights(rounded)
        ids = torch.arange(6 * 40).view(6, 40) % V
        wanted, _ = rounded.token_nats(ids[:-1], ids[1:], rounded.initial_state(40))
        stepper = Stepper(rounded, weights="int8")
        found, _ = stepper.token_nats(ids[:-1], ids[1:], stepper.initial_state(40))
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_a_copy_packs_its_own_weights(weights):
    layer, x = PackedLinear(random(70, 30), random(70, seed=2), weights), random(20, 30, seed=3)
    wanted = layer.step(x)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other.step(x), wanted)


def test_a_packed_matrix_says_whether_it_is_rounded():
    for weights in ("float32", "int8"):
        (matrix,) = pack_matrices([random(5, 7)], weights)
        assert matrix.is_rounded == (weights == "int8")


def test_inputs_that_are_not_finite_are_reported():
    """Only the streams that they belong to are not numbers."""
    for is_rounded in (False, True):
        x = random(9, 20)
        x[3, 2] = torch.nan
        found = StreamLinear(Given(random(70, 20), is_rounded), None)(x)
        assert found[3].isnan().all() and found[[0, 8]].isfinite().all()
