"""The mixture with the longest matches against its definition, written out token by token."""

import math

import numpy as np
import pytest
import torch

from refrain.evaluation import LongestMatch, Match, match_counts
from refrain.evaluation.longest_match import KEPT, OCCURRENCES, PRIOR, ROUNDS, lengths_of
from refrain.evaluation.match_counts import find_matches
from refrain.evaluation.measure import fit_matches, measure
from refrain.evaluation.methods import Method
from refrain.models import LanguageModel
from refrain.nn import LSTM, Embedding, RecurrentStack, SoftmaxHead

V = 3


class Ids:
    """Ids in memory, of which a reader sees those that it asks for."""

    def __init__(self, ids):
        self.ids = np.asarray(ids)

    def __len__(self):
        return len(self.ids)

    def read(self, first, last):
        return self.ids[first:last]

    def release(self):
        pass


def drawn(count, seed):
    """A text with repeats of all lengths: pieces of an earlier part and single tokens in turn."""
    draw = np.random.default_rng(seed)
    ids = list(draw.integers(V, size=5))
    while len(ids) < count:
        start = draw.integers(len(ids))
        ids += [*ids[start : start + draw.integers(1, 9)], draw.integers(V)]
    return ids[:count]


TRAIN, VALID, TEXT = (drawn(count, seed) for count, seed in ((150, 1), (90, 2), (60, 3)))


def model_probabilities(history):
    """Some distribution over the next token, which depends on the last two."""
    weights = np.array([1 + (token + 2 * sum(history[-2:])) % 5 for token in range(V)], float)
    return weights / weights.sum()


def model_nats(ids):
    return np.array([-math.log(model_probabilities(ids[:t])[ids[t]]) for t in range(1, len(ids))])


def followers(context, train, history):
    """What followed a context in the training text and in the history, by search at every position."""
    length = len(context)
    return [
        text[end]
        for text in (train, history)
        for end in range(length, len(text))
        if list(text[end - length : end]) == list(context)
    ]


def matches_of(history, train, longest):
    """The followers of the longest contexts of a history that occurred before, the longest first, and its length."""
    found = []
    for length in sorted(lengths_of(Match(longest)), reverse=True):
        if length <= len(history) and (after := followers(history[len(history) - length :], train, history)):
            found.append((length, after))
    return found[:KEPT]


def bucket_of(matches, longest):
    if not matches:
        return 0
    length, after = matches[0]
    return (1 + lengths_of(Match(longest)).index(length)) * OCCURRENCES + min(int(math.log2(len(after))), 5)


def distributions(history, train, longest):
    """The distributions of the model and of each match over the next token; a missing match has that of the model."""
    model = model_probabilities(history)
    copied = [np.bincount(after, minlength=V) / len(after) for _, after in matches_of(history, train, longest)]
    return np.stack([model, *copied, *[model] * (KEPT - len(copied))])


def fitted_by_definition(valid, train, longest):
    """The weights of each bucket by expectation maximisation in plain loops; those of all tokens are the prior."""
    tokens = [
        (
            bucket_of(matches_of(valid[:t], train, longest), longest),
            distributions(valid[:t], train, longest)[:, valid[t]],
        )
        for t in range(1, len(valid))
    ]

    def climb(which, start, prior):
        weights = start
        for _ in range(ROUNDS):
            sums = prior * start
            for parts in which:
                sums = sums + weights * parts / (weights @ parts)
            weights = sums / sums.sum()
        return weights

    everywhere = climb([parts for _, parts in tokens], np.full(KEPT + 1, 1 / (KEPT + 1)), 0.0)
    return lambda bucket: climb([parts for b, parts in tokens if b == bucket], everywhere, PRIOR)


def mixture(train=TRAIN, longest=8):
    matches = LongestMatch(Match(longest), None if train is None else Ids(train))
    matches.fit(Ids(VALID), model_nats(VALID))
    return matches


@pytest.mark.parametrize("block", [7, 50, 1 << 20])
@pytest.mark.parametrize("train", [TRAIN, None])
def test_counts_equal_a_search_at_every_position(train, block, monkeypatch):
    monkeypatch.setattr(match_counts, "BLOCK", block)
    found = find_matches(Ids(TEXT), None if train is None else Ids(train), lengths_of(Match(8)), kept=KEPT)
    for t in range(1, len(TEXT)):
        wanted = [(n, len(after), after.count(TEXT[t])) for n, after in matches_of(TEXT[:t], train or [], 8)]
        wanted += [(0, 0, 0)] * (KEPT - len(wanted))
        assert [tuple(field[slot, t] for field in found) for slot in range(KEPT)] == wanted


def test_equals_its_definition():
    nats = mixture().nats(Ids(TEXT), model_nats(TEXT))
    weights = fitted_by_definition(VALID, TRAIN, 8)
    for t in range(1, len(TEXT)):
        bucket = bucket_of(matches_of(TEXT[:t], TRAIN, 8), 8)
        p = weights(bucket) @ distributions(TEXT[:t], TRAIN, 8)
        assert p.sum() == pytest.approx(1)
        assert math.exp(-nats[t - 1]) == pytest.approx(p[TEXT[t]], rel=1e-4)


@pytest.mark.parametrize("train", [TRAIN, None])
def test_the_probabilities_of_all_tokens_sum_to_one(train):
    matches = mixture(train)
    for t in range(1, len(TEXT)):
        total = 0.0
        for token in range(V):
            ids = [*TEXT[:t], token]
            total += math.exp(-matches.nats(Ids(ids), model_nats(ids))[-1])
        assert total == pytest.approx(1)


def test_nothing_of_the_future_is_used():
    matches = mixture()
    whole = matches.nats(Ids(TEXT), model_nats(TEXT))
    for t in (2, 20, 41):
        changed = [*TEXT[:t], *((token + 1) % V for token in TEXT[t:])]
        assert (matches.nats(Ids(changed), model_nats(changed))[: t - 1] == whole[: t - 1]).all()


def test_without_a_match_the_model_predicts_alone():
    ids = np.arange(300, 340)
    nats = np.linspace(1, 5, 39)
    np.testing.assert_allclose(mixture().nats(Ids(ids), nats), nats)


def test_a_text_that_was_read_before_is_nearly_free():
    ids = np.random.default_rng(1).integers(1000, size=2000)
    nats = np.full(1999, math.log(1000))
    matches = LongestMatch(Match(), Ids(ids))
    valid = np.concatenate([np.random.default_rng(2).integers(1000, size=300), ids[:300]])
    matches.fit(Ids(valid), np.full(599, math.log(1000)))
    assert matches.nats(Ids(ids[500:900]), nats[:399]).mean() < 0.3
    alone = LongestMatch(Match(source="history"), None)
    alone.fit(Ids(valid), np.full(599, math.log(1000)))
    assert alone.nats(Ids(ids[500:900]), nats[:399]).mean() > 6


def test_a_token_of_no_probability_in_floating_point_keeps_its_nats():
    nats = np.full(59, 2000.0)
    mixed = mixture().nats(Ids(np.arange(60) % 7 + 10), nats)
    assert np.isfinite(mixed).all()


def test_weights_have_to_be_fitted():
    with pytest.raises(ValueError, match="call fit"):
        LongestMatch(Match(), None).nats(Ids(TEXT), model_nats(TEXT))
    with pytest.raises(ValueError, match="from 1 to 512"):
        Match(longest=0)


@pytest.fixture
def model():
    torch.manual_seed(1)
    return LanguageModel(Embedding(V, 5), RecurrentStack([LSTM(5, 6)]), SoftmaxHead(6, V)).double()


def test_measure_mixes_the_nats_of_the_model(model):
    method = Method("match", match=Match(8))
    matches = fit_matches(model, Ids(TRAIN), Ids(VALID), method, None)
    figure = measure(model, Ids(TEXT), method, None, name="x", matches=matches)
    ids = torch.tensor(TEXT)
    with torch.no_grad():
        nats, _, _ = model(ids[:-1, None], ids[1:, None], model.initial_state(1))
        of_each = model.head.token_nats(model.hidden(ids[:-1, None], model.initial_state(1))[0].dropped, ids[1:, None])
    assert figure.tokens == len(TEXT) - 1 and figure.nats != pytest.approx(float(nats))
    assert figure.nats == pytest.approx(matches.nats(Ids(TEXT), of_each[:, 0].numpy()).sum())
    with pytest.raises(ValueError, match="fitted first"):
        measure(model, Ids(TEXT), method, None, name="x")
    with pytest.raises(ValueError, match="has no matches"):
        fit_matches(model, Ids(TRAIN), Ids(VALID), Method(), None)


def test_measure_mixes_the_nats_of_a_model_that_adapts(model):
    from refrain.evaluation import Dynamics
    from refrain.evaluation.measure import statistics_of

    statistics = statistics_of(model, Ids(TRAIN), 5)
    still = Method("dynamic+match", None, Dynamics(0.0, 0.0), match=Match(8))
    moving = Method("dynamic+match", None, Dynamics(1e-2, 0.0), match=Match(8))
    found = {}
    for method in (Method("match", match=Match(8)), still, moving):
        matches = fit_matches(model, Ids(TRAIN), Ids(VALID), method, statistics)
        found[method] = measure(model, Ids(TEXT), method, statistics, name="x", matches=matches).nats
    plain, same, other = found.values()
    assert same == pytest.approx(plain) and other != pytest.approx(plain)
