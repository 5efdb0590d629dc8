"""`training.precision=auto` takes bf16 where it is faster, and a run keeps what it started with."""

import json

import pytest
import torch

from refrain import runs
from refrain.assembly import choosing, precision
from refrain.assembly.precision import ROUNDS, uses_bf16
from refrain.config import TaggerTraining, Training
from refrain.parallel import Ranks
from refrain.recipes import recipe
from refrain.runs import preparing
from refrain.runs.kinds import kind_of
from refrain.runs.trial import trial
from refrain.training import PlainProgress


@pytest.fixture
def processor(monkeypatch):
    """A processor with or without instructions for bfloat16, which multiplies by them so many times as fast."""

    def set_to(speedup, *, able=True):
        def measured():
            if speedup is None:
                raise AssertionError("the speed was measured")
            return speedup

        for module in (precision, choosing, preparing):
            monkeypatch.setattr(module, "has_fast_bf16", lambda device: able, raising=module is not choosing)
            monkeypatch.setattr(module, "bf16_speedup", measured, raising=module is not preparing)

    return set_to


@pytest.mark.parametrize("kind", [Training, TaggerTraining])
@pytest.mark.parametrize(
    ("speedup", "able", "device", "more", "wanted"),
    [
        (1.11, True, "cpu", {}, True),
        (1.09, True, "cpu", {}, False),
        (0.5, True, "cpu", {}, False),
        # nothing is measured
        (None, False, "cpu", {}, False),
        (None, True, "cuda", {}, True),
        (None, True, "cpu", {"deterministic": True}, True),
        (None, True, "cpu", {"precision": "bf16"}, True),
        (None, True, "cpu", {"precision": "float32"}, False),
    ],
)
def test_auto_takes_bf16_where_it_is_faster(processor, kind, speedup, able, device, more, wanted):
    processor(speedup, able=able)
    assert uses_bf16(kind(**{"precision": "auto", **more}), device) is wanted


def test_the_least_time_of_each_precision_counts(monkeypatch):
    """The first round, which prepares the matmuls, does not."""
    seconds = {torch.float32: [0.1, *[3.0] * ROUNDS], torch.bfloat16: [0.1, *[9.0] * (ROUNDS - 1), 2.0]}
    clock = [0.0]

    def mm(left, right):
        assert left.dtype == right.dtype and left.shape[1] == right.shape[0]
        clock[0] += seconds[left.dtype].pop(0)

    monkeypatch.setattr(torch, "mm", mm)
    monkeypatch.setattr(precision.time, "perf_counter", lambda: clock[0])
    assert precision._measured_speedup.__wrapped__(1) == pytest.approx(1.5)
    assert not any(seconds.values())


def test_the_measurement_draws_no_random_number():
    before = torch.get_rng_state()
    assert precision._measured_speedup.__wrapped__(1) > 0
    assert torch.equal(torch.get_rng_state(), before)


class Log(PlainProgress):
    def __init__(self):
        super().__init__(quiet=True)
        self.lines = []

    def log(self, line):
        self.lines.append(line)


def tiny(tiny_settings, corpus, *more):
    return recipe("zaremba-small", *tiny_settings, "training.backend=torch", *more, data=str(corpus))


@pytest.mark.parametrize(("first", "then", "words"), [(2.0, 0.5, "torch, bf16"), (0.5, 2.0, "torch, float32")])
def test_a_resumed_run_keeps_its_precision(processor, first, then, words, tiny_settings, tiny_corpus, tmp_path):
    processor(first)
    runs.train(tiny(tiny_settings, tiny_corpus, "training.precision=auto"), tmp_path / "run", progress=Log())
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["backend"]["head"] == words
    processor(then)
    log = Log()
    assert runs.resume(tmp_path / "run", settings=["training.epochs=3"], progress=log)["backend"]["head"] == words
    assert not any("backend was" in line for line in log.lines)
    processor(None, able=False)
    summary = runs.resume(tmp_path / "run", settings=["training.epochs=4"], progress=log)
    assert summary["backend"]["head"] == "torch, float32"
    assert any("backend was" in line for line in log.lines) == (words == "torch, bf16")


@pytest.mark.parametrize(
    ("speedup", "settings", "warns"),
    [
        (0.64, ["training.precision=bf16"], True),
        (1.0, ["training.precision=bf16"], False),
        (None, ["training.precision=bf16", "training.deterministic=true"], False),
        (0.64, ["training.precision=auto"], False),
        (None, ["training.precision=float32"], False),
    ],
)
def test_a_user_of_slow_bf16_is_told(processor, speedup, settings, warns, tiny_settings, tiny_corpus):
    processor(speedup)
    log = Log()
    trial(tiny(tiny_settings, tiny_corpus, *settings), log.log)
    assert [line for line in log.lines if "bf16" in line] == [
        "training.precision=bf16: this processor multiplies matrices in bf16 0.64 times as fast as in float32; "
        "training.precision=float32 is faster, and auto chooses the faster of the two"
    ] * warns


def test_a_trial_trains_as_a_run_would(tiny_settings, tiny_corpus, monkeypatch):
    asked = []

    def measured(network, training, shape, log):
        asked.append(shape.windows)
        return {}

    monkeypatch.setattr(choosing, "measure_backends", measured)
    experiment = recipe("zaremba-small", *tiny_settings, "training.precision=float32", data=str(tiny_corpus))
    found = trial(experiment, Log().log)
    assert asked == [found["windows"] * experiment.training.epochs]


@pytest.mark.parametrize("chosen", [True, False])
def test_every_rank_trains_in_the_precision_of_the_first(processor, chosen, tiny_settings, tiny_corpus):
    class Second(Ranks):
        rank, size, first = 1, 2, False

        def from_first(self, value):
            assert value is None
            return [chosen, {}]

    processor(None)
    experiment = tiny(tiny_settings, tiny_corpus, "training.precision=auto")
    kind = kind_of(experiment)
    corpus = kind.corpus(experiment, lambda line: None)
    _, found, _ = preparing.build(kind, experiment, corpus, Log(), Second())
    assert found["head"] == ("torch, bf16" if chosen else "torch, float32")
