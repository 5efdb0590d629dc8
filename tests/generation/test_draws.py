"""The kernel that draws tokens draws those of its reference, for any vocabulary and any filters."""

import itertools
import math

import pytest
import torch

from refrain.generation import Sampler, generate
from refrain.generation.sampling import draw_filtered, top_p
from refrain.models import LanguageModel, Stepper
from refrain.nn import LSTM, Embedding, RecurrentStack, SoftmaxHead
from refrain.nn.kernels import sampling as kernels
from refrain.nn.kernels.sampling import draw

ROWS = 200
pytestmark = pytest.mark.compiler


def logits(words, seed=1, scale=3.0):
    return torch.randn(ROWS, words, generator=torch.Generator().manual_seed(seed)) * scale


def shares(seed=2):
    return torch.rand(ROWS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def check(scores, **settings):
    """The same words, but where a share is so close to the border of two that float32 cannot tell."""
    found, wanted = draw(scores, shares(), **settings), draw_filtered(scores.double(), shares(), **settings)
    for offset in (-2e-6, 2e-6):
        moved = (shares() + offset).clamp(0, 1 - 1e-12)
        other = draw_filtered(scores.double(), moved, **settings)
        wanted = torch.where(found == other, other, wanted)
    assert torch.equal(found, wanted)


# words around registers and blocks of 64, and many
@pytest.mark.parametrize("words", [1, 2, 15, 64, 65, 1000, 5003])
@pytest.mark.parametrize("temperature", [1.0, 0.3, 4.0])
def test_filters(words, temperature):
    for k, p in itertools.product((None, 1, 5, 100, 10_000), (None, 1e-9, 0.5, 0.95, 1.0)):
        check(logits(words), temperature=temperature, k=k, p=p)


def test_a_distribution_of_one_word_and_one_of_all():
    for scale in (0.0, 1e-3, 1e6):
        for k, p in ((None, None), (None, 0.9), (7, None), (7, 0.9)):
            check(logits(1000, scale=scale), temperature=1.0, k=k, p=p)


def test_of_equal_words_at_the_edge_those_of_lower_ids_are_kept():
    # logits that are rounded to few values, as those of a model in bf16
    check(logits(2000).round(), temperature=1.0, k=None, p=0.6)
    kept = top_p(torch.zeros(2, 100).log_softmax(-1), 0.245)
    assert kept.isfinite().nonzero()[:, 1].tolist() == [*range(25)] * 2


@pytest.mark.parametrize("most", [300, 301, 2**63 - 1, 2**63, 2**70])
def test_more_words_than_there_are_is_all(most):
    scores = torch.randn(5, 300, generator=torch.Generator().manual_seed(1))
    drawn = [Sampler(top_k=k)(scores, torch.Generator().manual_seed(2)).tolist() for k in (None, most)]
    assert drawn[0] == drawn[1]


def test_ties_with_the_last_are_kept():
    scores = torch.zeros(ROWS, 300)
    scores[:, 100] = 1.0
    # all words tie with the second
    assert len(set(draw(scores, shares(), temperature=1e3, k=2, p=None).tolist())) > 100
    # the first of equal words come first
    scores[:, 250] = 1.0
    assert set(draw(scores, shares(), temperature=0.01, k=None, p=0.4).tolist()) == {100}


@pytest.mark.parametrize("temperature", [1e-300, 5e-324, 1e300])
def test_temperatures_at_the_ends_of_the_range(temperature):
    scores = logits(300)
    found = draw(scores, shares(), temperature=temperature, k=None, p=None)
    assert torch.equal(found, scores.argmax(1) if temperature < 1 else (shares() * 300).long())
    scores[:, 3] = -math.inf
    for k in (None, 300):
        assert 3 not in draw(scores, shares(), temperature=temperature, k=k, p=None)


def test_temperature_zero_takes_the_first_of_the_largest():
    scores = logits(300)
    scores[:, [77, 200]] = 100.0
    assert draw(scores, shares(), temperature=0, k=None, p=None).eq(77).all()


def test_rows_without_numbers():
    scores = logits(300)
    scores[0, 299] = math.nan
    scores[1] = -math.inf
    scores[2, 5] = math.inf
    found = draw(scores, shares(), temperature=1.0, k=3, p=0.9)
    assert found[:3].eq(-1).all() and found[3:].ge(0).all()
    with pytest.raises(FloatingPointError, match="not numbers"):
        Sampler()(scores, torch.Generator())


def test_threads_draw_the_same():
    scores, threads = logits(1000), torch.get_num_threads()
    wanted = draw(scores, shares(), temperature=1.0, k=None, p=0.9)
    try:
        torch.set_num_threads(3)
        assert torch.equal(draw(scores, shares(), temperature=1.0, k=None, p=0.9), wanted)
    finally:
        torch.set_num_threads(threads)


def test_a_text_is_the_same_without_the_kernel(monkeypatch):
    torch.manual_seed(3)
    model = LanguageModel(Embedding(50, 8), RecurrentStack([LSTM(8, 8)]), SoftmaxHead(8, 50))

    def text():
        sampler, generator = Sampler(temperature=0.8, top_k=20, top_p=0.9, banned=[7]), torch.Generator().manual_seed(1)
        return list(generate(Stepper(model), [0, 1], sampler, tokens=30, samples=6, generator=generator))

    drawn = text()
    monkeypatch.setattr(kernels.native, "load", lambda name: None)
    assert text() == drawn


def test_logits_are_log_probabilities_up_to_a_number():
    torch.manual_seed(3)
    model = LanguageModel(Embedding(50, 8), RecurrentStack([LSTM(8, 8)]), SoftmaxHead(8, 50))
    stepper, ids = Stepper(model), torch.arange(20)
    wanted, after = stepper.step(ids, stepper.initial_state(20))
    found, state = stepper.logits(ids, stepper.initial_state(20))
    torch.testing.assert_close(found.log_softmax(-1), wanted)
    torch.testing.assert_close(state, after)
    assert not torch.allclose(found, wanted)
