"""Triggered averaging, against worked cases."""

import copy

import pytest
import torch

from refrain.optim import TriggeredAveraging


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
    with averaging.mean_weights():
        assert parameter.tolist() == pytest.approx([3.0, 3.0])
    assert parameter.tolist() == [6.0, 6.0]


def test_nothing_is_averaged_before_the_trigger():
    parameter, averaging = moved([1.0, 2.0], trigger_window=2)
    assert not averaging.active and not averaging.started
    with averaging.mean_weights():
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
    pulled = [averaging.validated(value) for value in validations]
    assert [index for index, value in enumerate(pulled) if value] == ([] if pulled_at is None else [pulled_at])


def test_state_goes_on_as_if_unbroken():
    parameter, averaging = moved([1.0, 2.0], trigger_window=3, started=True)
    averaging.validated(2.5)
    state = copy.deepcopy(averaging.state_dict())
    other_parameter, other = moved([], trigger_window=3, started=True)
    other.load_state_dict(state)
    assert torch.equal(other_parameter, parameter)
    for each, averages in ((parameter, averaging), (other_parameter, other)):
        with torch.no_grad():
            each.fill_(9.0)
        averages.after_step(None)
    assert other.state_dict()["validations"] == [2.5]
    with averaging.mean_weights(), other.mean_weights():
        assert torch.equal(parameter, other_parameter) and parameter.tolist() == pytest.approx([4.0, 4.0])


def test_averages_of_other_parameters_are_refused():
    _, averaging = moved([1.0], trigger_window=0, started=True)
    other = TriggeredAveraging([torch.nn.Parameter(torch.zeros(3))], trigger_window=0, started=True)
    with pytest.raises(ValueError, match="other parameters"):
        other.load_state_dict(averaging.state_dict())
    with pytest.raises(ValueError, match="at least 0"):
        TriggeredAveraging([], trigger_window=-1)
