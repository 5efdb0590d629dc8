"""A unit that is held has its value whenever a token is drawn, and nothing else is touched."""

import math

import numpy as np
import pytest
import torch

from refrain import runs
from refrain.errors import UserError
from refrain.generation import Sampler, generate, hold_units
from refrain.models import LanguageModel, Stepper
from refrain.nn import GRU, LSTM, Embedding, RecurrentStack, SoftmaxHead

V, WIDTHS = 7, (6, 5)


def tiny(cell):
    torch.manual_seed(3)
    layers = [cell(4, WIDTHS[0]), cell(WIDTHS[0], WIDTHS[1])]
    return LanguageModel(Embedding(V, 4), RecurrentStack(layers), SoftmaxHead(WIDTHS[1], V)).eval()


def states_before_steps(monkeypatch, model, **options):
    """The states from which each token is drawn."""
    stepper = model if isinstance(model, Stepper) else Stepper(model)
    seen, original = [], stepper.logits
    monkeypatch.setattr(stepper, "logits", lambda ids, state: seen.append(state) or original(ids, state))
    generator = torch.Generator().manual_seed(1)
    list(generate(stepper, [1, 2, 3], Sampler(), tokens=6, samples=3, generator=generator, **options))
    assert len(seen) == 6
    return seen


@pytest.mark.parametrize(("cell", "part"), [(LSTM, "cell"), (GRU, "hidden")])
@pytest.mark.parametrize(("key", "layer", "unit"), [(2, 1, 2), ((0, 5), 0, 5)])
def test_a_held_unit_has_its_value_at_every_step(monkeypatch, cell, part, key, layer, unit):
    model = tiny(cell)
    for state in states_before_steps(monkeypatch, model, hold=hold_units(model, {key: -1.25})):
        assert getattr(state[layer], part)[:, unit].tolist() == [-1.25] * 3


def test_a_step_continues_from_the_held_value(monkeypatch):
    """Each state but for the held unit is what the step makes of the held state before it."""
    model = tiny(LSTM)
    ids = []
    stepper = Stepper(model)
    original = stepper.logits
    monkeypatch.setattr(stepper, "logits", lambda now, state: ids.append(now) or original(now, state))
    seen = states_before_steps(monkeypatch, stepper, hold=hold_units(model, {0: 2.0, (0, 1): -2.0}))
    for now, before, after in zip(ids, seen, seen[1:], strict=False):
        _, wanted = original(now, before)
        wanted[1].cell[:, 0], wanted[0].cell[:, 1] = 2.0, -2.0
        torch.testing.assert_close(after, wanted)


def test_the_given_state_stays_as_it_is():
    model = tiny(LSTM)
    state = model.initial_state(2)
    hold_units(model, {0: 1.0})(state)
    assert all(not part.any() for layer in state for part in layer)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({5: 1.0}, r"unit must be at least 0 and less than 5 \(got 5\); layer 0 has 6, layer 1 has 5"),
        ({(0, 6): 1.0}, r"less than 6 \(got 6\)"),
        ({-1: 1.0}, "got -1"),
        ({(2, 0): 1.0}, "layer must be at least 0 and less than 2"),
        ({0: math.nan}, "must be finite"),
        ({0: 1e39}, r"the value of unit 0 must be finite in float32 \(got 1e\+39\)"),
        ({0: -math.inf}, "must be finite"),
        ({0: 1.0, (1, 0): 2.0}, "unit 0 of layer 1 is named twice"),
        ({0: torch.tensor(1.0)}, r"the value of unit 0: must be a number \(got tensor\(1\.\)\)"),
        ({"0": 1.0}, r"clamp: a unit: must be a whole number \(got '0'\)"),
        ({True: 1.0}, r"clamp: a unit: must be a whole number \(got True\)"),
        ({(0, 1, 2): 1.0}, r"an index, or a layer and an index, as in \(0, 3\) \(got \(0, 1, 2\)"),
        ([0], r"clamp: must map units to values, as in \{3: 1\.5\} \(got \[0\]\)"),
    ],
)
def test_units_that_cannot_be_held(values, message):
    with pytest.raises(UserError, match=message):
        hold_units(tiny(LSTM), values)


def test_numbers_of_numpy_hold_units():
    model = tiny(LSTM)
    state = hold_units(model, {np.int64(2): np.float32(1.5), (np.int64(0), 1): 2})(model.initial_state(1))
    assert (float(state[1].cell[0, 2]), float(state[0].cell[0, 1])) == (1.5, 2.0)


def test_holding_a_unit_changes_what_is_written(tiny_run):
    lm = runs.load(tiny_run)
    clamps = [None, dict.fromkeys(range(8), 50.0), {(0, unit): 50.0 for unit in range(8)}]
    plain, held, again = (lm.generate(tokens=60, seed=1, clamp=clamp) for clamp in clamps)
    assert held == again != plain
    assert lm.generate(tokens=60, seed=1, clamp={}) == plain
