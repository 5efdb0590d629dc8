"""`training.precision=auto` takes bf16 where it is faster, and a run keeps what it started with."""

import json
import time

import pytest
import torch

from refrain import runs
from refrain.assembly import choosing, precision
from refrain.assembly.precision import ROUNDS, uses_bf16
from refrain.config import TaggerTraining, Training
from refrain.nn import SoftmaxHead
from refrain.parallel import Ranks
from refrain.recipes import recipe
from refrain.runs import preparing, seeds
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

        for module in (precision, choosing):
            monkeypatch.setattr(module, "has_fast_bf16", lambda device: able)
            monkeypatch.setattr(module, "bf16_speedup", measured)

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
        assert torch.get_num_threads() == 1

    monkeypatch.setattr(torch, "mm", mm)
    monkeypatch.setattr(precision, "_clock", lambda: lambda: clock[0])
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert precision.measured_speedup() == pytest.approx(1.5)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert not any(seconds.values())


def test_the_time_of_other_programs_does_not_count(monkeypatch):
    """Nor does any that a thread sleeps, except on Windows, whose clock of threads is coarse."""
    monkeypatch.setattr(precision.sys, "platform", "linux")
    clock = precision._clock()
    started, whole = clock(), time.perf_counter()
    time.sleep(0.1)
    assert clock() - started < 0.05 <= time.perf_counter() - whole
    monkeypatch.setattr(precision.sys, "platform", "win32")
    assert precision._clock() is time.perf_counter


def test_the_measurement_draws_no_random_number():
    before = torch.get_rng_state()
    assert precision.measured_speedup() > 0
    assert torch.equal(torch.get_rng_state(), before)


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """A cache without a record, and a process that has not measured."""
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "cache"))
    precision.bf16_speedup.cache_clear()
    yield
    precision.bf16_speedup.cache_clear()


def test_it_is_measured_once_for_all_processes_of_a_machine(fresh, monkeypatch):
    monkeypatch.setattr(precision, "measured_speedup", lambda: 1.9)
    assert precision.bf16_speedup() == 1.9
    precision.bf16_speedup.cache_clear()
    monkeypatch.setattr(precision, "measured_speedup", lambda: 0.5)
    assert precision.bf16_speedup() == 1.9
    # on another processor
    precision.bf16_speedup.cache_clear()
    monkeypatch.setattr(precision, "processor", lambda: ("model name: another",))
    assert precision.bf16_speedup() == 0.5


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"bf16_speedup": "x"}', '{"bf16_speedup": 0}', '{"bf16_speedup": NaN}']
)
def test_a_damaged_record_is_measured_anew(content, fresh, monkeypatch):
    monkeypatch.setattr(precision, "measured_speedup", lambda: 1.9)
    assert precision.bf16_speedup() == 1.9
    precision.record_path().write_text(content)
    precision.bf16_speedup.cache_clear()
    monkeypatch.setattr(precision, "measured_speedup", lambda: 0.5)
    assert precision.bf16_speedup() == 0.5
    assert precision.read_speedup(precision.record_path()) == 0.5


def test_a_cache_that_cannot_be_written_is_no_error(fresh, monkeypatch):
    monkeypatch.setattr(precision, "measured_speedup", lambda: 1.9)

    def refuse(path, text):
        raise PermissionError("read-only")

    monkeypatch.setattr(precision, "put_record", refuse)
    assert precision.bf16_speedup() == 1.9


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
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["backend"]["head"] == words and manifest["bf16_speedup"] == first
    processor(then)
    log = Log()
    assert runs.resume(tmp_path / "run", settings=["training.epochs=3"], progress=log)["backend"]["head"] == words
    assert not any("backend was" in line for line in log.lines)
    processor(None, able=False)
    summary = runs.resume(tmp_path / "run", settings=["training.epochs=4"], progress=log)
    assert summary["backend"]["head"] == "torch, float32"
    assert any("backend was" in line for line in log.lines) == (words == "torch, bf16")


def test_a_series_of_two_precisions_is_named(processor, monkeypatch, tiny_settings, tiny_corpus, tmp_path):
    """As where two machines share the work."""
    speedups = iter([2.0, 0.5])
    processor(2.0)
    experiment = tiny(tiny_settings, tiny_corpus, "training.precision=auto", "training.epochs=1")
    train = seeds.train

    def elsewhere(*given, **more):
        processor(next(speedups))
        return train(*given, **more)

    monkeypatch.setattr(seeds, "train", elsewhere)
    log = Log()
    seeds.train_seeds(experiment, tmp_path / "runs", 2, progress=lambda: log)
    assert [line for line in log.lines if line.startswith("note: some of these runs were trained in bf16 and others")]


@pytest.mark.parametrize(
    ("speedup", "settings", "warns"),
    [
        (0.64, ["training.precision=bf16"], True),
        (1.0, ["training.precision=bf16"], False),
        (None, ["training.precision=bf16", "training.deterministic=true"], False),
        (None, ["training.precision=float32"], False),
    ],
)
def test_a_user_of_slow_bf16_is_told(processor, speedup, settings, warns, tiny_settings, tiny_corpus):
    processor(speedup)
    log = Log()
    trial(tiny(tiny_settings, tiny_corpus, *settings), log.log)
    assert [line for line in log.lines if "bf16" in line] == [
        "training.precision=bf16: this processor multiplies matrices in bf16 0.64 times as fast as in float32; "
        "training.precision=float32 is faster, and auto would choose it"
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


@pytest.mark.parametrize(
    ("speedup", "able", "more", "line"),
    [
        (1.94, True, [], "precision bf16: matmuls in bf16 are 1.94 times as fast as in float32"),
        (0.5, True, [], "precision float32: matmuls in bf16 are 0.50 times as fast as in float32"),
        (None, True, ["training.deterministic=true"], "precision bf16: there are instructions for it"),
        (None, False, [], "precision float32: there are no instructions for bf16"),
    ],
)
def test_a_user_of_auto_is_told_what_it_chose(processor, speedup, able, more, line, tiny_settings, tiny_corpus):
    processor(speedup, able=able)
    log = Log()
    trial(tiny(tiny_settings, tiny_corpus, "training.precision=auto", *more), log.log)
    assert line in log.lines


def test_where_nothing_is_rounded_nothing_is_said(processor, tiny_settings, tiny_corpus):
    processor(0.64)
    log = Log()
    settings = recipe("pos-dense", "training.precision=bf16", "training.backend=torch").training
    model = torch.nn.LSTM(2, 3)
    choosing.choose_measured(settings, model, None, log=log.log)
    assert not log.lines


class Second(Ranks):
    """A process beside the first one, whose answers it takes."""

    rank, size, first = 1, 2, False

    def __init__(self, *answers):
        self.answers = list(answers)

    def from_first(self, value):
        assert value is None
        return self.answers.pop(0)


@pytest.mark.parametrize("chosen", [True, False])
def test_every_rank_trains_in_the_precision_of_the_first(processor, chosen, tiny_settings, tiny_corpus):
    processor(None)
    experiment = tiny(tiny_settings, tiny_corpus, "training.precision=auto")
    kind = kind_of(experiment)
    corpus = kind.corpus(experiment, lambda line: None)
    _, found = preparing.build(kind, experiment, corpus, Log(), Second(chosen, {}))
    assert found.backends["head"] == ("torch, bf16" if chosen else "torch, float32")


class Beside(Ranks):
    """The first process, beside one with or without instructions for bfloat16."""

    def __init__(self, able):
        self.able = able

    def gathered(self, value):
        return [value, self.able]


@pytest.mark.parametrize(("own", "other"), [(True, True), (True, False), (False, True)])
def test_bf16_needs_every_rank(processor, own, other):
    both = own and other
    words = {"head": "torch, bf16" if both else "torch, float32"}
    settings = Training(precision="auto", backend="torch")
    processor(2.0 if both else None, able=own)
    model = torch.nn.ModuleDict({"head": SoftmaxHead(3, 5)})
    found = choosing.choose_measured(settings, model, None, Beside(other))
    assert found.backends == words and found.bf16_speedup == (2.0 if both else None)
    again = choosing.choose_again(settings, model, {"head": "torch, bf16"}, Beside(other))
    assert again.backends == words
    assert choosing.choose_again(settings, model, {"head": "torch, float32"}, Beside(other)).backends == {
        "head": "torch, float32"
    }
