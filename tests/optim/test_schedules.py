"""Schedules at points worked out by hand."""

import functools
import math

import pytest

from refrain.optim import Fixed, Plateau, constant, cosine, exponential, linear


def test_exponential_is_that_of_the_tutorial():
    # small: full rate while epoch + 1 <= 4, then halved each epoch (epoch counts from 0)
    factors = [exponential(epoch, hold_epochs=4, decay=0.5) for epoch in range(7)]
    assert factors == [1, 1, 1, 1, 0.5, 0.25, 0.125]


def test_exponential_in_steps_is_that_of_the_preset_for_sparse_models():
    # sparselarge: 0.1 ** (epoch // (55 // 3)), which drops at the epochs 18, 36 and 54
    for epoch in range(55):
        factor = exponential(epoch, hold_epochs=18, step_epochs=18, decay=0.1)
        assert factor == pytest.approx(0.1 ** (epoch // 18), rel=1e-12), epoch


def test_exponential_steps_begin_where_the_full_rate_ends():
    factors = [exponential(epoch, hold_epochs=2, step_epochs=3, decay=0.5) for epoch in range(9)]
    assert factors == [1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]


@pytest.mark.parametrize(("schedule", "values"), [(constant, (1, 1, 1)), (linear, (1, 0.5, 0)), (cosine, (1, 0.5, 0))])
def test_schedules_over_the_whole_run(schedule, values):
    assert [schedule(0, progress) for progress in (0.0, 0.5, 1.0)] == pytest.approx(values)


def test_cosine_between():
    # cos(60 degrees) = 1/2, so (1 + 1/2) / 2
    assert cosine(0, 1 / 3) == pytest.approx(0.75)


def test_plateau_cuts_after_each_validation_that_is_not_better():
    plateau = Plateau(0.5)
    factors = []
    for nats in (5.0, 4.0, 4.0, 3.0, 3.5, 3.2):
        plateau.validated(nats)
        factors.append(plateau.factor(0, 0.0))
    assert factors == [1, 1, 0.5, 0.5, 0.25, 0.125]


def test_plateau_resumes():
    one, other = Plateau(0.5), Plateau(0.5)
    assert other.state_dict() == {"best": None, "cuts": 0}
    for nats in (2.0, 3.0):
        one.validated(nats)
    other.load_state_dict(one.state_dict())
    for plateau in (one, other):
        plateau.validated(2.5)
    assert one.factor(0, 0) == other.factor(0, 0) == 0.25


@pytest.mark.parametrize("undefined", [math.nan, math.inf, -math.inf])
def test_plateau_takes_what_is_not_finite_for_worse_than_any_other(undefined):
    plateau = Plateau(0.5)
    factors = []
    for nats in (undefined, 5.0, undefined, 4.0, 4.5):
        plateau.validated(nats)
        factors.append(plateau.factor(0, 0.0))
    assert factors == [0.5, 0.5, 0.25, 0.25, 0.125]


def test_every_function_of_the_schedules_is_one_for_fixed():
    halves = functools.partial(exponential, decay=0.5, hold_epochs=2)
    assert [Fixed(halves).factor(epoch, epoch / 4) for epoch in range(4)] == [1, 1, 0.5, 0.25]
    # held for no epoch, as by the settings
    assert Fixed(functools.partial(exponential, decay=0.5)).factor(0, 0.0) == 0.5
    for schedule in (constant, linear, cosine):
        assert Fixed(schedule).factor(0, 0.0) == 1
    assert Fixed(lambda epoch, progress: 0.9**epoch).factor(2, 0.5) == pytest.approx(0.81)


def test_fixed_has_no_state():
    schedule = Fixed(linear)
    schedule.validated(1.0)
    schedule.load_state_dict(schedule.state_dict())
    assert schedule.factor(3, 0.25) == 0.75


def test_what_cannot_be_a_schedule_is_refused():
    for decay in (0.0, 1.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="more than 0 and less than 1"):
            Plateau(decay)
    with pytest.raises(ValueError, match="step_epochs must be at least 1"):
        exponential(3, hold_epochs=1, decay=0.5, step_epochs=0)
    Fixed(constant).validated(judged=1.0)
