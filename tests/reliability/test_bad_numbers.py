"""Promise 6: infinite and undefined numbers are found, and no checkpoint ever holds one.

Each trial makes one number of a run bad, in one place and in one step. Once the cause is gone, the run goes on.
"""

import math
import random
import re
import shutil

import pytest
import torch
from short_runs import assert_same_bits, trace
from tiny_runs import EVERY_WINDOW, steps

from refrain import runs
from refrain.errors import UserError
from refrain.nn.recurrent.protocol import state_tensors
from refrain.storage.checkpoint import Checkpoint
from refrain.training import PlainProgress, fit

BAD = (math.nan, math.inf, -math.inf)
# recipes with Adam and a carried state, and with averaged weights; the steps of a run
RUNS = {"byte-lstm": 20, "awd": 24}
PLACES = ("loss", "gradient", "weight", "embedding", "state", "optimizer")


class Poison:
    """Makes a number bad in a step; with no step, it does nothing."""

    name = "poison"

    def __init__(self, place="", step=0, value=math.nan):
        self.place, self.bad_step, self.value = place, step, value
        self.step = 0

    def loss_term(self, window):
        self.step += 1
        if self.step != self.bad_step:
            return torch.zeros(())
        parameter = next(window.model.parameters())
        if self.place == "loss":
            return parameter.sum() * 0 + self.value
        if self.place == "gradient":
            handle = parameter.register_hook(lambda gradient: (handle.remove(), gradient + self.value)[1])
        return torch.zeros(())

    def after_step(self, window):
        if self.step != self.bad_step:
            return
        weights = dict(window.model.named_parameters())
        if self.place == "weight":
            weights["head.bias"].data[1] = self.value
        elif self.place == "embedding":
            # of a token that is rare
            weights["embedding.weight"].data[-1, 0] = self.value
        elif self.place == "optimizer":
            state = window.optimizer.state[weights["head.bias"]]
            state["exp_avg"].view(-1)[0] = self.value


def poison_state(monkeypatch, poison):
    real = fit.train_round

    def train_round(*arguments, **options):
        state = real(*arguments, **options)
        if poison.step >= poison.bad_step:
            state_tensors(state)[0].view(-1)[0] = poison.value
        return state

    monkeypatch.setattr(fit, "train_round", train_round)


def train(experiment, out, poison):
    runs.train(experiment, out, methods=[poison], force=True, progress=PlainProgress(quiet=True))


@pytest.fixture(scope="module")
def wanted(prepared, tmp_path_factory):
    """The ends of the runs in which nothing is bad."""
    found = {}
    for name in RUNS:
        out = tmp_path_factory.mktemp(name) / "run"
        train(prepared.experiment(name), out, Poison())
        found[name] = trace(out)
    return found


def assert_all_finite(out):
    for folder in (out / "checkpoints").glob("step-*"):
        for stem in ("model", "training"):
            for name, tensor in Checkpoint(folder).tensors(stem).items():
                assert tensor.isfinite().all(), (folder, name)


@pytest.mark.parametrize("place", PLACES)
def test_a_bad_number_is_found_and_never_saved(place, trials, report, prepared, wanted, tmp_path, monkeypatch):
    count, draw, out = trials(1, 10), random.Random(place), tmp_path / "run"
    for _ in range(count):
        # plain SGD, with which the second run begins, has no state
        name = "byte-lstm" if place == "optimizer" else draw.choice(list(RUNS))
        step, value, every_window = draw.randint(2, RUNS[name]), draw.choice(BAD), draw.random() < 0.7
        poison = Poison(place, step, value)
        with monkeypatch.context() as patch, pytest.raises(UserError) as error:
            if place == "state":
                poison_state(patch, poison)
            train(prepared.experiment(name, *([EVERY_WINDOW] if every_window else [])), out, poison)
        check_message(str(error.value), place, out)
        assert_all_finite(out)
        if every_window:
            assert steps(out)[-1] == step - 1, "the step before is saved, the step of the bad number is not"
        runs.resume(out, methods=[Poison()], progress=PlainProgress(quiet=True))
        assert_same_bits(trace(out), wanted[name])
        shutil.rmtree(out)
    report("bad numbers", f"{place}: {count} found, none saved, the same bits after it")


def check_message(message, place, out):
    assert "\n" not in message
    cause = "(the loss is|the validation loss is|, the gradient norm) (nan|-?inf)"
    cause += r"|[\w.]+ has become (nan|-?inf), so that no checkpoint was written"
    assert re.search(cause, message), message
    assert message.startswith("training stopped in epoch ")
    assert f"the last good checkpoint is {out / 'checkpoints'}" in message
    assert "check the methods poison" in message
