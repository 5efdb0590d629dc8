"""Filters on a distribution of five tokens, worked out by hand, and what is drawn from it."""

import math

import numpy as np
import pytest
import torch

from refrain.errors import UserError
from refrain.generation import Sampler, top_k, top_p, with_temperature

# of five tokens, none of them in order
P = [0.1, 0.4, 0.05, 0.3, 0.15]
DRAWS = 4000


@pytest.fixture
def log_probabilities():
    return torch.tensor([P]).log()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def kept(filtered):
    return [index for index, value in enumerate(filtered[0].tolist()) if value > -math.inf]


def shares(sampler, log_probabilities):
    """How often each token is drawn."""
    drawn = sampler(log_probabilities.expand(DRAWS, -1), generator())
    return (torch.bincount(drawn, minlength=5) / DRAWS).tolist()


def near(wanted):
    # six standard deviations of a share of at most 1/2 in 4000 draws
    return pytest.approx(wanted, abs=6 * 0.5 / math.sqrt(DRAWS))


@pytest.mark.parametrize(
    ("temperature", "powers"),
    [
        (1.0, P),
        # p ** 2: 0.01 0.16 0.0025 0.09 0.0225, together 0.285
        (0.5, [0.01 / 0.285, 0.16 / 0.285, 0.0025 / 0.285, 0.09 / 0.285, 0.0225 / 0.285]),
        (1e300, [0.2] * 5),
        (1e-300, [0, 1, 0, 0, 0]),
        (5e-324, [0, 1, 0, 0, 0]),
    ],
)
def test_temperature(log_probabilities, temperature, powers):
    found = with_temperature(log_probabilities.double(), temperature).exp()
    torch.testing.assert_close(found, torch.tensor([powers], dtype=torch.float64), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("k", "wanted"), [(1, [1]), (2, [1, 3]), (3, [1, 3, 4]), (5, [0, 1, 2, 3, 4]), (99, [0, 1, 2, 3, 4])]
)
def test_top_k(log_probabilities, k, wanted):
    filtered = top_k(log_probabilities, k)
    assert kept(filtered) == sorted(wanted)
    assert [filtered[0, index].item() for index in wanted] == [log_probabilities[0, index].item() for index in wanted]


def test_top_k_keeps_ties_with_the_kth():
    tied = torch.tensor([[0.3, 0.2, 0.2, 0.2, 0.1]]).log()
    assert kept(top_k(tied, 2)) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("p", "wanted"),
    [
        # in order 0.4 0.3 0.15 0.1 0.05, summed 0.4 0.7 0.85 0.95 1
        (1e-9, [1]),
        (0.39, [1]),
        (0.41, [1, 3]),
        (0.69, [1, 3]),
        (0.71, [1, 3, 4]),
        (0.86, [0, 1, 3, 4]),
        (0.96, [0, 1, 2, 3, 4]),
        (1.0, [0, 1, 2, 3, 4]),
    ],
)
def test_top_p(log_probabilities, p, wanted):
    assert kept(top_p(log_probabilities, p)) == wanted


def test_top_p_of_exactly_what_the_first_tokens_hold():
    halves = torch.tensor([[0.25, 0.5, 0.125, 0.125]]).log()
    assert kept(top_p(halves, 0.5)) == [1]
    assert kept(top_p(halves, 0.75)) == [0, 1]


def test_filters_act_on_each_row_alone():
    rows = torch.tensor([P, P[::-1]]).log()
    for act in (lambda x: top_k(x, 2), lambda x: top_p(x, 0.5)):
        torch.testing.assert_close(act(rows), torch.cat([act(rows[:1]), act(rows[1:])]))
        torch.testing.assert_close(act(rows)[1], act(rows)[0].flip(0))


def test_draws_follow_the_distribution(log_probabilities):
    assert shares(Sampler(), log_probabilities) == near(P)


def test_filters_compose_in_order(log_probabilities):
    # temperature 1/2 first: 0.0351 0.5614 0.0088 0.3158 0.0789, of which the first two hold 0.877 and three 0.956
    assert shares(Sampler(temperature=0.5, top_p=0.9), log_probabilities) == near(
        [0, 0.16 / 0.2725, 0, 0.09 / 0.2725, 0.0225 / 0.2725]
    )
    # top-k first leaves 4/7 and 3/7, so that top-p 1/2 leaves one; of the whole distribution it would leave two
    found = shares(Sampler(top_k=2, top_p=0.5), log_probabilities)
    assert found == [0, 1, 0, 0, 0]


def test_banned_tokens_are_never_drawn(log_probabilities):
    assert shares(Sampler(banned=[1, 4]), log_probabilities) == near([0.1 / 0.45, 0, 0.05 / 0.45, 0.3 / 0.45, 0])
    assert shares(Sampler(banned=[1], temperature=0), log_probabilities) == [0, 0, 0, 1, 0]
    assert shares(Sampler(banned=[1], top_k=1), log_probabilities) == [0, 0, 0, 1, 0]
    assert shares(Sampler(banned=[1], temperature=1e300), log_probabilities) == near([0.25, 0, 0.25, 0.25, 0.25])


def test_the_callers_tensor_is_left_alone(log_probabilities):
    before = log_probabilities.clone()
    Sampler(banned=[0], temperature=0.5, top_k=3, top_p=0.5)(log_probabilities, generator())
    assert torch.equal(before, log_probabilities)


@pytest.mark.parametrize("options", [{"temperature": 0}, {"temperature": 1e-300}, {"top_k": 1}, {"top_p": 1e-300}])
def test_the_most_probable_alone(log_probabilities, options):
    assert shares(Sampler(**options), log_probabilities) == [0, 1, 0, 0, 0]


def test_temperature_zero_leaves_the_generator_alone(log_probabilities):
    used = generator()
    Sampler(temperature=0)(log_probabilities, used)
    assert torch.equal(used.get_state(), generator().get_state())


def test_a_seed_decides(log_probabilities):
    rows = log_probabilities.expand(50, -1)
    first, again, other = (Sampler()(rows, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.1}, "temperature must be at least 0 and finite (got -0.1)"),
        ({"temperature": math.inf}, "temperature must be at least 0 and finite (got inf)"),
        ({"temperature": math.nan}, "temperature must be at least 0 and finite (got nan)"),
        ({"top_k": 0}, "top_k must be at least 1 (got 0)"),
        ({"top_k": -1}, "top_k must be at least 1 (got -1)"),
        # a kernel took the address of a tensor for the number
        ({"top_k": torch.tensor(1)}, "top_k: must be a whole number (got tensor(1))"),
        ({"top_k": True}, "top_k: must be a whole number (got True)"),
        ({"top_k": 1.0}, "top_k: must be a whole number (got 1.0)"),
        ({"top_p": torch.tensor(0.5)}, "top_p: must be a number (got tensor(0.5000))"),
        ({"temperature": True}, "temperature: must be a number (got True)"),
        ({"top_p": 0.0}, "top_p must be greater than 0 and at most 1 (got 0.0)"),
        ({"top_p": 1.1}, "top_p must be greater than 0 and at most 1 (got 1.1)"),
        ({"top_p": math.nan}, "top_p must be greater than 0 and at most 1 (got nan)"),
        (
            {"temperature": 0, "top_k": 3},
            "top_k cannot take effect with temperature 0, which takes the most probable token",
        ),
        (
            {"temperature": 0, "top_p": 0.9},
            "top_p cannot take effect with temperature 0, which takes the most probable token",
        ),
    ],
)
def test_values_out_of_range(options, message):
    with pytest.raises(ValueError) as caught:
        Sampler(**options)
    assert str(caught.value) == message


def test_numbers_of_numpy(log_probabilities):
    given = Sampler(top_k=np.int64(2), top_p=np.float32(0.875), temperature=np.float64(0.5))
    plain = Sampler(top_k=2, top_p=0.875, temperature=0.5)
    rows = log_probabilities.expand(DRAWS, -1)
    assert torch.equal(given(rows, generator()), plain(rows, generator()))
    assert set(given(rows.double(), generator()).tolist()) == {1, 3}


@pytest.mark.parametrize(
    ("banned", "message"),
    [
        ("ab", r"banned: must be a list of ids \(got 'ab'\)"),
        ([-1], r"banned: an id must not be negative \(got -1\)"),
        ([1.5], "banned: must be a whole number"),
    ],
)
def test_banned_ids_that_are_no_ids(banned, message):
    with pytest.raises(UserError, match=message):
        Sampler(banned=banned)


def test_a_banned_id_outside_of_the_vocabulary(log_probabilities):
    size = log_probabilities.shape[1]
    with pytest.raises(UserError, match=rf"banned: an id must be less than {size} \(got {size}\)"):
        Sampler(banned=[size])(log_probabilities, torch.Generator())


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_some_token_must_be_left_to_draw(dtype, temperature):
    with pytest.raises(UserError, match="banned: at least one of the 3 ids must be left to draw"):
        Sampler(banned=[2, 0, 1, 1], temperature=temperature)(torch.zeros(1, 3, dtype=dtype), generator())
    one_left = Sampler(banned=[2, 1, 1], temperature=temperature)
    assert one_left(torch.zeros(1, 3, dtype=dtype), generator()).tolist() == [0]
