"""Penalties on activations, worked by hand, and what they do to a run."""

import pytest
import torch

from refrain.models import Outputs
from refrain.training import Window
from refrain.training.regularisers import activation_penalty, temporal_penalty


def window(raw, dropped):
    return Window(None, None, None, None, Outputs(torch.tensor(raw), torch.tensor(dropped)))


def test_the_activation_penalty_is_of_the_dropped_output():
    # two steps, one sequence, two units: squares 1, 4, 0, 9; mean 14 / 4
    seen = window([[[7.0, 7.0]], [[7.0, 7.0]]], [[[1.0, 2.0]], [[0.0, -3.0]]])
    assert activation_penalty(2.0)(seen).item() == pytest.approx(2 * 14 / 4)


def test_the_temporal_penalty_is_of_the_raw_output():
    # changes (1, -2) and (0, 5): squares 1, 4, 0, 25; mean 30 / 4
    seen = window([[[1.0, 2.0]], [[2.0, 0.0]], [[2.0, 5.0]]], [[[9.0, 9.0]]] * 3)
    assert temporal_penalty(0.5)(seen).item() == pytest.approx(0.5 * 30 / 4)


def test_a_window_of_one_step_has_no_change():
    assert temporal_penalty(1.0)(window([[[1.0]]], [[[1.0]]])).item() == 0
