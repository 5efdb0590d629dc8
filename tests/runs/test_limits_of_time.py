"""A run ends at a limit of time, or with `finish=True`, with its learning rate annealed and its figures."""

import json
import os
import shutil
import signal

import pytest
import torch
from short_runs import Stopping, quiet

import refrain
from refrain import recipe, runs
from refrain.errors import UserError
from refrain.optim import Fixed, Plateau, constant, cosine, exponential, linear
from refrain.runs import resuming
from refrain.storage.run_folder import RunFolder
from refrain.training import Interrupted, PlainProgress, Position, ending
from refrain.training.planned_end import Moment, Plan, announced, finishing, planned

SMALL = (
    "model.embedding_size=6", "model.hidden_sizes=[6]", "training.batch_size=3", "training.window_steps=4",
    "training.device=cpu", "training.sample_tokens=0", "training.validation=exact", "training.log_windows=7",
)  # fmt: skip
SCHEDULES = {
    "constant": Fixed(constant),
    "linear": Fixed(linear),
    "cosine": Fixed(cosine),
    "exponential": Fixed(lambda epoch, progress: exponential(epoch, hold_epochs=4, decay=0.5)),
    "plateau": Plateau(0.5),
}


class Seconds:
    """A clock by which every step takes a second: only the windows of training advance it."""

    def __init__(self, seconds_per_step=1.0):
        self.now = 0.0
        self.seconds_per_step = seconds_per_step

    def monotonic(self):
        return self.now


class Ticking(PlainProgress):
    def __init__(self, clock):
        super().__init__(quiet=True)
        self.clock = clock
        self.lines = []

    def window(self, position, windows, epochs):
        self.clock.now += self.clock.seconds_per_step

    def log(self, line):
        self.lines.append(line)


@pytest.fixture
def clock(monkeypatch):
    found = Seconds()
    monkeypatch.setattr(ending, "time", found)
    return found


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """22 windows of three columns in the training text."""
    folder = tmp_path_factory.mktemp("limited")
    for split, lines in (("train", 30), ("valid", 3), ("test", 3)):
        (folder / f"{split}.txt").write_text("a b c d\nb c a\n" * lines)
    return str(folder)


@pytest.fixture
def build(corpus):
    return lambda *words: recipe("zaremba-small", *SMALL, *words, data=corpus)


def metrics(run, event):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == event]


def test_the_speed_so_far_becomes_a_number_of_steps():
    now = Moment(step=10, seconds=20.0, progress=0.01, last=1000, epochs=10)
    plan = planned(200.0, now, None, SCHEDULES["linear"])
    # two seconds a step: 90 more in the 180 seconds that are left
    assert (plan.step, plan.end, plan.cooldown) == (10, 100, False)
    assert planned(3000.0, now, None, SCHEDULES["linear"]) is None
    later = Moment(step=50, seconds=101.0, progress=0.45, last=1000, epochs=10)
    assert planned(200.0, later, plan, SCHEDULES["linear"]) is None
    # since the plan, a step took four seconds
    slow = planned(200.0, Moment(50, 180.0, 0.45, 1000, 10), plan, SCHEDULES["linear"])
    assert (slow.step, slow.end, slow.progress) == (50, 55, 0.45)
    assert planned(200.0, Moment(50, 201.0, 0.45, 1000, 10), plan, SCHEDULES["linear"]).end == 50


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_ends_with_the_plan(name):
    schedule = SCHEDULES[name]
    plan = planned(100.0, Moment(10, 10.0, 0.1, 1000, 10), None, schedule)
    factors = [plan.rate_factor(step, 10, schedule) for step in range(10, plan.end)]
    assert plan.end == 100 and plan.cooldown == (name in ("constant", "plateau"))
    assert factors[0] == pytest.approx(schedule.factor(1, 0.1))
    assert factors == sorted(factors, reverse=True) and factors[-1] < 0.07
    # a change of the plan is no jump of the rate
    changed = Plan("max_minutes", 60, 60.0, plan.progress_at(60), 80, plan.cooldown)
    assert changed.rate_factor(60, 10, schedule) == pytest.approx(plan.rate_factor(60, 10, schedule))
    assert changed.rate_factor(79, 10, schedule) < 0.2


def test_to_finish_takes_a_fifth_of_the_steps_or_less():
    assert finishing(Moment(100, 9.0, 0.1, 1000, 10), 50, 0.5).end == 120
    assert finishing(Moment(900, 9.0, 0.9, 1000, 10), 50, 0.5).end == 950
    assert finishing(Moment(990, 9.0, 0.99, 1000, 10), 500, 0.5).end == 1000
    plan = finishing(Moment(1, 9.0, 0.1, 1000, 10), 50, 0.5)
    assert plan.end == 2 and plan.rate_factor(1, 10, SCHEDULES["cosine"]) == 0.5


@pytest.mark.parametrize(
    "words",
    [
        ["training.schedule=linear"],
        ["training.schedule=constant"],
        ["training.schedule={kind='plateau', decay=0.5}"],
        ["training.optimizer=nt-asgd", "training.optimizer.trigger_window=1"],
    ],
)
def test_a_run_ends_at_its_limit_of_time(build, tmp_path, clock, words):
    progress = Ticking(clock)
    summary = runs.train(
        build("training.epochs=50", "training.max_minutes=1", *words), tmp_path / "run", progress=progress
    )
    (plan,) = summary["plans"]
    # three seconds are a twentieth of the minute
    assert (plan["step"], plan["end"], plan["reason"]) == (3, 60, "max_minutes")
    assert clock.now == 60
    last = metrics(tmp_path / "run", "train")[-1]
    first = metrics(tmp_path / "run", "train")[0]
    assert last["step"] == 60 and last["learning_rate"] < 0.1 * first["learning_rate"]
    assert metrics(tmp_path / "run", "valid")[-1]["step"] == 60
    assert summary["test"]["perplexity"] > 1 and metrics(tmp_path / "run", "plan")[0]["end"] == 60
    assert "training.max_minutes" in (tmp_path / "run" / "README.md").read_text()
    # of 22 windows
    assert summary["epochs"] == 3 and summary["best_epoch"] <= 3
    assert "Trained for 3 epochs in" in (tmp_path / "run" / "README.md").read_text()
    assert "measuring the best of 3 epochs on validation and test" in progress.lines
    assert refrain.runs.listing.entry_of(tmp_path / "run").ended_by == "max_minutes"
    assert any("the run ends after about 60 steps, for training.max_minutes=1: " in line for line in progress.lines)


def test_epochs_that_end_before_the_limit_are_as_without_it(build, tmp_path, clock):
    for name, words in (("limited", ["training.max_minutes=10"]), ("plain", [])):
        runs.train(build("training.epochs=2", *words), tmp_path / name, progress=Ticking(clock))
    one, other = (RunFolder(tmp_path / name).newest()[0].tensors("model") for name in ("limited", "plain"))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert "plans" not in json.loads((tmp_path / "limited" / "summary.json").read_text())


def test_a_slower_machine_changes_the_plan(build, tmp_path, clock):
    class Slower(Ticking):
        def window(self, position, windows, epochs):
            self.clock.seconds_per_step = 1.0 if position.step < 20 else 4.0
            super().window(position, windows, epochs)

    experiment = build("training.epochs=50", "training.max_minutes=1", "training.schedule=linear")
    summary = runs.train(experiment, tmp_path / "run", progress=Slower(clock))
    assert len(summary["plans"]) > 1 and clock.now == pytest.approx(60, abs=6)
    rates = [line["learning_rate"] for line in metrics(tmp_path / "run", "train")]
    assert rates == sorted(rates, reverse=True) and rates[-1] < 0.15


def test_a_run_with_a_plan_is_resumed_bit_for_bit(build, tmp_path, clock):
    experiment = build("training.epochs=50", "training.max_minutes=1", "model.dropout=0.2", "training.schedule=cosine")
    runs.train(experiment, tmp_path / "whole", progress=Ticking(clock))

    class Both(Ticking):
        def window(self, position, windows, epochs):
            super().window(position, windows, epochs)
            if position.step == 31:
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        runs.train(experiment, tmp_path / "broken", progress=Both(clock))
    runs.resume(tmp_path / "broken", progress=Ticking(clock))
    one, other = (RunFolder(tmp_path / name).newest()[0] for name in ("whole", "broken"))
    assert one.folder.name == other.folder.name == "step-000000060"
    for part in ("model", "training"):
        tensors = other.tensors(part)
        assert all(torch.equal(tensor, tensors[name]) for name, tensor in one.tensors(part).items())
    # longer, it goes on from there without the old plan
    summary = runs.resume(tmp_path / "broken", settings=["training.max_minutes=2"], progress=Ticking(clock))
    assert summary["plans"][-1]["end"] == pytest.approx(120, abs=6)


def test_a_limit_needs_a_course_that_it_can_shorten(build):
    with pytest.raises(UserError, match=r"training.max_minutes: cannot be combined with sparsity"):
        build("training.max_minutes=1", "sparsity.prune.share=0.5")


@pytest.fixture(scope="module")
def stopped(corpus, tmp_path_factory):
    """A run of 13 epochs that was stopped after 50 windows."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    stop = Stopping(50)
    with pytest.raises(Interrupted):
        runs.train(recipe("zaremba-small", *SMALL, data=corpus), out, progress=stop)
    (line,) = (line for line in stop.lines if "--finish" in line)
    assert line.endswith("--finish ends the run soon, with its learning rate at zero")
    return out


@pytest.fixture
def run(stopped, tmp_path):
    shutil.copytree(stopped, tmp_path / "run", symlinks=True)
    return tmp_path / "run"


def test_an_interrupted_run_is_finished(run, capsys):
    summary = refrain.resume(run, finish=True)
    assert "finishing: the run ends after step 60, 10 from here, in which the learning rate falls to zero" in (
        capsys.readouterr().err
    )
    assert summary["plans"] == [
        {"reason": "finish", "step": 50, "end": 60, "factor": 1.0, "cooldown": False}
        | {name: summary["plans"][0][name] for name in ("seconds", "progress")}
    ]
    train, valid = metrics(run, "train")[-1], metrics(run, "valid")[-1]
    assert train["step"] == valid["step"] == 60 and train["learning_rate"] == pytest.approx(0.1)
    assert (run / "README.md").read_text().count("--finish") == 1 and summary["test"]["perplexity"] > 1
    (entry,) = json.loads((run / "manifest.json").read_text())["resumed"]
    assert entry["step"] == 50 and entry["settings"] == {} and "falls to zero" in entry["notes"][0]
    with pytest.raises(UserError, match="is at its end already"):
        refrain.resume(run, finish=True)
    # a finished run stays finished, and can be lengthened
    assert refrain.resume(run, progress=quiet())["plans"] == summary["plans"]
    longer = refrain.resume(run, settings=["training.epochs=14"], progress=quiet())
    assert longer["epochs"] == 14 and "plans" not in longer


def test_finishing_that_is_interrupted_continues(run):
    with pytest.raises(Interrupted):
        refrain.resume(run, finish=True, progress=Stopping(4))
    shutil.copytree(run, run.parent / "other", symlinks=True)
    one = refrain.resume(run, progress=quiet())
    other = refrain.resume(run.parent / "other", finish=True, progress=quiet())
    assert one["plans"] == other["plans"] and one["plans"][0]["end"] == 60
    assert one["valid"] == other["valid"]


def test_finishing_goes_on_when_only_a_rule_of_stopping_changes(run):
    with pytest.raises(Interrupted):
        refrain.resume(run, finish=True, progress=Stopping(4))
    found = refrain.resume(run, settings=["training.stop_window=5"], progress=quiet())
    assert found["plans"][0]["end"] == 60 and metrics(run, "train")[-1]["step"] == 60


@pytest.mark.parametrize("accumulate", [3, 7])
def test_a_run_is_finished_with_a_whole_update(corpus, tmp_path, accumulate):
    asked = recipe("zaremba-small", *SMALL, f"training.accumulate_windows={accumulate}", data=corpus)
    with pytest.raises(Interrupted):
        runs.train(asked, tmp_path / "run", progress=Stopping(50))
    (plan,) = refrain.resume(tmp_path / "run", finish=True, progress=quiet())["plans"]
    windows = json.loads((tmp_path / "run" / "best" / "training.json").read_text())["position"]
    each = next(line["window"] for line in metrics(tmp_path / "run", "valid") if line["epoch_ended"])
    window = plan["end"] % each
    assert plan["end"] >= plan["step"] + (plan["step"] // 5) and (window % accumulate == 0 or window == each), windows


def test_a_run_that_has_not_begun_is_not_finished(corpus, tmp_path):
    with pytest.raises(Interrupted):
        runs.train(recipe("zaremba-small", *SMALL, data=corpus), tmp_path / "run", progress=Stopping(1))
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-000000001")
    with pytest.raises(UserError, match="no training step to finish"):
        refrain.resume(tmp_path / "run", finish=True)


def test_a_plan_that_changes_says_how_the_end_moves():
    rows = ((5, 3.0, 190), (10, 60.0, 120), (20, 120.0, 140))
    first, slower, faster = (Plan("max_minutes", step, seconds, 0.1, end) for step, seconds, end in rows)
    assert announced([first], 1.0).startswith("the run ends after about 190 steps, for training.max_minutes=1: ")
    assert announced([first, slower], 1.0) == "the end moves from step 190 to 120, as training has become slower"
    assert (
        announced([first, slower, faster], 1.0) == "the end moves from step 120 to 140, as training has become faster"
    )


def test_an_end_that_hardly_moves_or_moves_again_at_once_is_not_announced():
    plans = [Plan("max_minutes", 5, 3.0, 0.1, 200), Plan("max_minutes", 10, 20.0, 0.1, 120)]
    assert announced(plans, 1.0) == ""
    plans.append(Plan("max_minutes", 20, 40.0, 0.2, 185))
    assert announced(plans, 1.0) == ""
    # what was not announced before counts too
    plans.append(Plan("max_minutes", 30, 50.0, 0.3, 170))
    assert announced(plans, 1.0) == "the end moves from step 200 to 170, as training has become slower"
    plans.append(Plan("finish", 31, 51.0, 0.3, 37))
    assert announced(plans, 1.0).startswith("the run ends after about 37 steps, 6 from here")


def test_a_planned_end_is_validated_once(build, tmp_path, clock):
    """Step 60 is window 16 of the third epoch, at which a validation within the epoch is due as well."""
    words = ["training.epochs=50", "training.max_minutes=1", "training.validation_windows=4"]
    runs.train(build(*words), tmp_path / "run", progress=Ticking(clock))
    steps = [line["step"] for line in metrics(tmp_path / "run", "valid")]
    assert steps[-1] == 60 and len(steps) == len(set(steps))


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_slow_first_window_does_not_end_the_run(build, tmp_path, clock, accumulate):
    """As one in which kernels are compiled: the plan that it leads to is changed before it has run out."""

    class SlowAtFirst(Ticking):
        def window(self, position, windows, epochs):
            self.clock.seconds_per_step = 4.0 if position.step == 1 else 0.1
            super().window(position, windows, epochs)

    words = ["training.epochs=500", "training.max_minutes=1", "training.schedule=linear", "training.log_windows=1"]
    experiment = build(*words, f"training.accumulate_windows={accumulate}", "training.batch_size=1")
    summary = runs.train(experiment, tmp_path / "run", progress=SlowAtFirst(clock))
    assert clock.now == pytest.approx(60, abs=4) and summary["plans"][0]["end"] < 60
    rates = [line["learning_rate"] for line in metrics(tmp_path / "run", "train")]
    assert rates == sorted(rates, reverse=True) and min(rates[:-1]) > 0
    assert rates[len(rates) // 2] == pytest.approx(rates[0] / 2, rel=0.2)
    assert all(plan["step"] % accumulate == 0 or plan["step"] % 66 == 0 for plan in summary["plans"])


def test_a_plan_that_has_run_out_is_not_prolonged():
    """The learning rate is zero at its end."""
    plan = Plan("max_minutes", 1, 4.0, 0.1, 13)
    assert planned(60.0, Moment(13, 5.0, 1.0, 1000, 10), plan, SCHEDULES["linear"]) is None


@pytest.mark.parametrize(("epochs", "cleared"), [(40, True), (60, True), (None, False)])
def test_another_number_of_epochs_is_planned_anew(build, epochs, cleared):
    """Also where it is smaller."""
    before = build("training.epochs=50", "training.max_minutes=1")
    given = before if epochs is None else build(f"training.epochs={epochs}", "training.max_minutes=1")
    position = Position(epoch=0, window=5, step=5)
    position.plans.append(Plan("max_minutes", 5, 4.0, 0.05, 60))
    resuming._go_on(position, before, given)
    assert position.plans == [] if cleared else len(position.plans) == 1
