"""Triggered averaging, against worked cases."""

import copy
import json
import math

import pytest
import torch

from refrain.optim import EarlyStop, TriggeredAveraging


def record(judged, epoch, settled=True):
    return {"judged": judged, "epoch": epoch, "settled": settled}


def moved(values, **options):
    """A parameter that takes the given values, a step each, under averaging."""
    parameter = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    averaging = TriggeredAveraging([parameter], **options)
    for value in values:
        with torch.no_grad():
            parameter.fill_(value)
        averaging.after_step(None)
    return parameter, averaging


def test_the_mean_is_that_of_every_step_since_the_start():
    parameter, averaging = moved([1.0, 2.0, 6.0], trigger_window=0, started=True)
    with averaging.evaluation_weights(None):
        assert parameter.tolist() == pytest.approx([3.0, 3.0])
    assert parameter.tolist() == [6.0, 6.0]


def test_a_weight_that_is_given_twice_has_one_mean():
    weight = torch.nn.Parameter(torch.zeros(1))
    averaging = TriggeredAveraging([weight, weight], trigger_window=0, started=True)
    for step in range(4):
        weight.data.fill_(float(step))
        averaging.after_step(None)
    with averaging.evaluation_weights(None):
        assert weight.item() == 1.5


def test_nothing_is_averaged_before_the_trigger():
    parameter, averaging = moved([1.0, 2.0], trigger_window=2)
    assert not averaging.active and not averaging.started
    with averaging.evaluation_weights(None):
        assert parameter.tolist() == [2.0, 2.0]


@pytest.mark.parametrize(
    ("window", "validations", "pulled_at"),
    [
        # with window 2 the third value has one earlier than the last two, 5.0, and 5.5 is worse
        (2, [5.0, 4.0, 6.0, 5.5], 3),
        # the best, 4.0, is among the last two and does not count
        (2, [5.0, 4.5, 4.0, 4.6, 4.4], None),
        (2, [5.0, 4.0, 3.0, 2.0, 1.0], None),
        (5, [5, 4, 6, 6, 6, 6, 4.9, 4.1], 7),
        (0, [1.0, 2.0, 3.0, 4.0], None),
    ],
)
def test_the_trigger_looks_past_the_last_validations(window, validations, pulled_at):
    averaging = TriggeredAveraging([torch.nn.Parameter(torch.zeros(1))], trigger_window=window)
    verdicts = [averaging.validated(record(value, epoch)) for epoch, value in enumerate(validations, 1)]
    said = [(index, verdict.message) for index, verdict in enumerate(verdicts) if verdict]
    message = f"validation has stalled: weights are averaged from epoch {(pulled_at or 0) + 2} on"
    assert said == ([] if pulled_at is None else [(pulled_at, message)])
    assert not any(verdict.stop for verdict in verdicts if verdict)


def test_a_validation_before_the_model_is_settled_is_no_stall():
    stop = EarlyStop(1)
    values = [(1.0, False), (5.0, True), (6.0, True), (4.0, False), (5.5, True)]
    verdicts = [stop.validated({"judged": value, "settled": settled}) for value, settled in values]
    # 5.5 is worse than 5.0; the better ones before it were seen while the model shrank
    assert [verdict and verdict.stop for verdict in verdicts] == [None, False, False, None, True]
    averaging = TriggeredAveraging([], trigger_window=1)
    assert not any(averaging.validated(record(value, 1, settled)) for value, settled in values[:-1])
    assert averaging.validated(record(*values[-1][:1], 5))


@pytest.mark.parametrize("undefined", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_worse_than_any_other_validation(undefined):
    def stopped(values):
        stop = EarlyStop(1)
        return [stop.validated({"judged": value}).stop for value in values]

    def triggered(values):
        averaging = TriggeredAveraging([], trigger_window=1)
        return [averaging.validated(record(value, epoch)) is not None for epoch, value in enumerate(values, 1)]

    # the first figure is looked past to: 1, 2, 3 are no worse than it, but 3 is worse than 1
    assert stopped([undefined, 1.0, 2.0, 3.0]) == triggered([undefined, 1.0, 2.0, 3.0]) == [False, False, False, True]
    assert stopped([undefined, undefined, undefined]) == [False, False, False]
    # one that is not finite is worse than 2
    assert stopped([2.0, 1.0, undefined]) == triggered([2.0, 1.0, undefined]) == [False, False, True]
    assert triggered([3.0, undefined, 2.0, 2.5]) == [False, False, False, False]


def test_validations_that_are_not_finite_survive_a_restart():
    for make in (lambda: EarlyStop(1), lambda: TriggeredAveraging([], trigger_window=1)):
        one, other = make(), make()
        for value in (math.nan, 1.0, math.inf):
            one.validated(record(value, 1))
        # plain JSON has no such numbers
        other.load_state_dict(json.loads(json.dumps(one.state_dict(), allow_nan=False)))
        assert other.state_dict() == one.state_dict() and other.validated(record(3.0, 4))
        assert other.state_dict()["validations"] == [None, 1.0, None, 3.0]


def test_no_run_stops_before_its_fewest_epochs():
    def first_stop(**options):
        stop = EarlyStop(5, **options)
        # every validation is worse than the one before
        verdicts = (stop.validated({"judged": float(epoch), "epoch": epoch}) for epoch in range(1, 200))
        return next(epoch for epoch, verdict in enumerate(verdicts, 1) if verdict.stop)

    # six validations are needed before one is compared with the best of all but the last five
    assert first_stop() == first_stop(min_epochs=7) == 7
    # SparseSeqModels: more than 100 earlier validations
    assert first_stop(min_epochs=102) == 102


def test_state_continues_as_if_unbroken():
    parameter, averaging = moved([1.0, 2.0], trigger_window=3, started=True)
    averaging.validated(record(2.5, 1))
    state = copy.deepcopy(averaging.state_dict())
    other_parameter, other = moved([], trigger_window=3, started=True)
    other.load_state_dict(state)
    assert torch.equal(other_parameter, parameter)
    for each, averages in ((parameter, averaging), (other_parameter, other)):
        with torch.no_grad():
            each.fill_(9.0)
        averages.after_step(None)
    assert other.state_dict()["validations"] == [2.5]
    with averaging.evaluation_weights(None), other.evaluation_weights(None):
        assert torch.equal(parameter, other_parameter) and parameter.tolist() == pytest.approx([4.0, 4.0])


def test_averages_of_other_parameters_are_refused():
    _, averaging = moved([1.0], trigger_window=0, started=True)
    other = TriggeredAveraging([torch.nn.Parameter(torch.zeros(3))], trigger_window=0, started=True)
    with pytest.raises(ValueError, match="other parameters"):
        other.load_state_dict(averaging.state_dict())
    with pytest.raises(ValueError, match="at least 0"):
        TriggeredAveraging([], trigger_window=-1)


@pytest.mark.parametrize("window", [0, -2])
def test_a_stop_that_never_comes_is_refused(window):
    with pytest.raises(ValueError, match="window must be at least 1"):
        EarlyStop(window)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_means_of_half_precision_do_not_stand_still(dtype):
    parameter = torch.nn.Parameter(torch.ones(3, dtype=dtype))
    averaging = TriggeredAveraging([parameter], trigger_window=0, started=True)
    for value in (1.0, 2.0):
        for _ in range(1000):
            with torch.no_grad():
                parameter.fill_(value)
            averaging.after_step(None)
    with averaging.evaluation_weights(None):
        torch.testing.assert_close(parameter.detach(), torch.full((3,), 1.5, dtype=dtype), rtol=0, atol=1e-3)
    other = TriggeredAveraging([parameter], trigger_window=0, started=True)
    other.load_state_dict(copy.deepcopy(averaging.state_dict()))
    assert other.state_dict()["means"][0].dtype == torch.float32


def test_the_state_within_the_context_has_the_trained_weights():
    """Where the model's own weights are the mean, so that both can be saved at once."""
    parameter, averaging = moved([1.0, 2.0, 6.0], trigger_window=0, started=True)
    with averaging.evaluation_weights(None):
        state = copy.deepcopy(averaging.state_dict())
    assert state["weights"][0].tolist() == [6.0, 6.0] and state["means"][0].tolist() == pytest.approx([3.0, 3.0])
    averaging.load_state_dict(state)
    assert parameter.tolist() == [6.0, 6.0]


def test_a_context_within_the_context_changes_nothing():
    """As where a function that evaluates the mean is called from one that does, too."""
    parameter, averaging = moved([1.0, 3.0], trigger_window=0, started=True)
    with averaging.evaluation_weights(None):
        with averaging.evaluation_weights(None):
            assert parameter.tolist() == [2.0, 2.0]
        assert parameter.tolist() == [2.0, 2.0]
        assert averaging.state_dict()["weights"][0].tolist() == [3.0, 3.0]
    assert parameter.tolist() == [3.0, 3.0]


def test_a_validation_without_the_number_of_its_epoch():
    averaging = moved([], trigger_window=1)[1]
    verdicts = [averaging.validated({"judged": figure}) for figure in (1.0, 2.0, 3.0)]
    assert verdicts[-1].message == "validation has stalled: weights are averaged from here on"
