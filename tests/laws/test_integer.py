"""Products of integers are those of their references, and a sequence's nats do not depend on the rest of its batch."""

import copy
import itertools
import math
import pickle

import pytest
import torch

from refrain.models import LanguageModel, Stepper
from refrain.models.integer_scorer import IntegerScorer
from refrain.nn import GRU, LSTM, AdaptiveHead, Embedding, RecurrentStack, SoftmaxHead
from refrain.nn.kernels.integer import IntegerSoftmax, integer_linear, lanes, round_inputs
from refrain.nn.kernels.packed_linear import quantise
from refrain.nn.recurrent.lstm.integer import IntegerLSTM, integer_lstm_step
from refrain.nn.recurrent.lstm.state import LSTMState

V = 1003
# around the kernels' tiles of 6 rows and blocks of 48
BATCHES = [1, 5, 7, 48, 49, 131]


@pytest.fixture(autouse=True)
def _needs_integers():
    if not lanes():
        pytest.skip("no compiler, or a processor without products of integers")


def random(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def model(cell=LSTM, head=SoftmaxHead):
    torch.manual_seed(2)
    built = LanguageModel(Embedding(V, 21), RecurrentStack([cell(21, 70), cell(70, 43)]), head(43, V))
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.uniform_(-0.5, 0.5)
    return built


def ids_for(batch, steps=9):
    return torch.randint(V, (steps + 1, batch), generator=torch.Generator().manual_seed(batch))


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize(("width", "size"), [(1, 1), (15, 16), (21, 70), (130, 33)])
def test_a_window_is_its_steps(width, size, batch):
    ih, hh = (quantise(random(4 * size, columns, seed=columns)) for columns in (width, size))
    bias, inputs = random(4 * size, seed=4), random(5, batch, width, seed=5)
    state = before = LSTMState(random(batch, size, seed=6), random(batch, size, seed=7))
    layer = IntegerLSTM(ih, hh, bias)
    outputs, after = layer.window(inputs, before)
    for x, output in zip(inputs, outputs, strict=True):
        # each step from the same state: a difference in the last place can round an input to the next integer
        wanted = integer_lstm_step(x, state, ih, hh, bias)
        found, state = layer.window(x[None], state)
        torch.testing.assert_close(state, wanted, atol=5e-6, rtol=1e-6)
        assert torch.equal(found[0], output)
    assert all(torch.equal(one, other) for one, other in zip(after, state, strict=True))
    assert torch.equal(before.cell, random(batch, size, seed=7))


@pytest.mark.parametrize("rows", BATCHES)
@pytest.mark.parametrize(("words", "width"), [(1, 1), (64, 16), (65, 21), (V, 130)])
@pytest.mark.parametrize("size", [0.1, 10.0])
def test_nats_are_those_of_the_reference(words, width, rows, size):
    multiples, scales = quantise(random(words, width) * size)
    bias, x = random(words, seed=2), random(rows, width, seed=3)
    generator = torch.Generator().manual_seed(4)
    after, ids = (torch.randint(limit, (2 * rows + 1,), generator=generator) for limit in (rows, words))
    found = IntegerSoftmax(multiples, scales, bias).nats(x, after, ids)
    logits = integer_linear(x, multiples, scales) + bias
    wanted = -logits.double().log_softmax(dim=1)[after, ids]
    torch.testing.assert_close(found.double(), wanted, atol=2e-6 * max(1.0, size * math.sqrt(width)), rtol=1e-6)


def test_inputs_are_rounded_by_half_a_scale_at_most():
    x = random(30, 50) * torch.logspace(-6, 6, 30)[:, None]
    multiples, scales = round_inputs(x)
    assert multiples.abs().amax(1).eq(127).all()
    assert ((multiples * scales[:, None] - x).abs() / scales[:, None]).max() <= 0.5 * (1 + 1e-4)


def test_rows_of_zeros_and_numbers_that_are_not_finite():
    softmax = IntegerSoftmax(*quantise(random(70, 20)), torch.zeros(70))
    x = random(5, 20)
    x[1] = 0
    x[2, 3] = torch.nan
    x[3, 19] = torch.inf
    x[4] = 1e-41
    nats = softmax.nats(x, torch.arange(5), torch.zeros(5, dtype=torch.int64))
    assert nats[[0, 1, 4]].isfinite().all() and nats[[2, 3]].isnan().all()
    torch.testing.assert_close(nats[[1, 4]], torch.full((2,), math.log(70)))


def test_a_word_that_cannot_be():
    """Among words of a whole panel that cannot be either, and before one whose logit is far larger."""
    bias = torch.zeros(200)
    bias[:100] = -torch.inf
    bias[180] = 500.0
    softmax = IntegerSoftmax(*quantise(torch.zeros(200, 20)), bias)
    nats = softmax.nats(random(1, 20), torch.zeros(3, dtype=torch.int64), torch.tensor([3, 180, 181]))
    torch.testing.assert_close(nats, torch.tensor([torch.inf, 0.0, 500.0]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_inputs_of_other_dtypes(dtype):
    softmax = IntegerSoftmax(*quantise(random(70, 20)), None)
    x, ids = random(5, 20).to(dtype), torch.arange(5)
    assert torch.equal(softmax.nats(x, ids, ids), softmax.nats(x.float(), ids, ids))


def test_ids_that_do_not_exist_are_refused():
    softmax = IntegerSoftmax(*quantise(random(70, 20)), None)
    zero = torch.tensor([0])
    for rows, ids in (([1], zero), (zero, [70]), (zero, [-1])):
        with pytest.raises(IndexError):
            softmax.nats(random(1, 20), torch.as_tensor(rows), torch.as_tensor(ids))
    with pytest.raises(ValueError, match="expected"):
        softmax.nats(random(1, 21), zero, zero)


@pytest.mark.parametrize("make", [model, lambda: model(GRU), lambda: model(head=adaptive)])
def test_nats_are_close_to_those_of_the_stepper(make):
    stepper = Stepper(make(), weights="int8")
    scorer, ids = stepper.scorer, ids_for(131)
    assert isinstance(scorer, IntegerScorer)
    wanted, before = stepper.token_nats(ids[:-1], ids[1:], stepper.initial_state(131))
    found, after = scorer.token_nats(ids[:-1], ids[1:], scorer.initial_state(131))
    error = (found - wanted).double()
    # each input is off by a 254th of the largest at most; the errors of words and sequences have no common sign
    assert error.abs().max() < 0.1 and abs(error.mean()) < 0.002
    for one, other in zip(after, before, strict=True):
        torch.testing.assert_close(one, other, atol=0.05, rtol=0)


def adaptive(size, words):
    return AdaptiveHead(size, words, cutoffs=[40], division=2.0)


def test_a_sequence_has_bit_for_bit_what_it_has_alone():
    scorer, ids = Stepper(model(), weights="int8").scorer, ids_for(131)
    together, _ = scorer.token_nats(ids[:-1], ids[1:], scorer.initial_state(131))
    for column in (0, 47, 48, 130):
        one = ids[:, column : column + 1]
        alone, _ = scorer.token_nats(one[:-1], one[1:], scorer.initial_state(1))
        assert torch.equal(alone[:, 0], together[:, column])
        nats, state = [], scorer.initial_state(1)
        for before, after in itertools.pairwise(one):
            following, state = scorer.following_nats(before, state, torch.tensor([0]), after)
            nats.append(following)
        assert torch.equal(torch.cat(nats), together[:, column])


def test_a_pickle_has_no_integers_in_the_layout_of_this_processor():
    built = model()
    stepper, ids = Stepper(built, weights="int8"), ids_for(3)
    wanted, _ = stepper.scorer.token_nats(ids[:-1], ids[1:], stepper.scorer.initial_state(3))
    with torch.no_grad():
        # the stepper keeps its weights, and its pickle has them
        built.head.bias.zero_()
    for copied in (pickle.loads(pickle.dumps(stepper)), copy.deepcopy(stepper)):
        assert "scorer" not in vars(copied)
        found, _ = copied.scorer.token_nats(ids[:-1], ids[1:], copied.scorer.initial_state(3))
        assert torch.equal(found, wanted)


def test_float32_scores_by_the_stepper_itself():
    stepper = Stepper(model())
    assert stepper.scorer is stepper
