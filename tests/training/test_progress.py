"""Reports of steps that take long: after two seconds and then at growing intervals, on standard error alone.

A test moves the clock itself.
"""

import contextlib
import io
import math
import sys
import threading
from types import SimpleNamespace

import pytest

from refrain import progress as reports
from refrain.progress import Bar, Lines, Reporter, Step, duration, end_reports, timing_reports, untracked, watch
from refrain.training import PlainProgress
from refrain.training.loop import Tally
from refrain.training.planned_end import Plan
from refrain.training.progress import Clock, LiveProgress, epoch_line, loss_text
from refrain.training.task import Best, Position


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still; `waits(step, until)` moves it and ends the step at a time."""

    class Clock:
        now = 0.0

        def waits(self, until, at=None):
            def wait(seconds):
                self.now = min(self.now + seconds, until)
                if at is not None:
                    at(self.now)
                return self.now >= until

            return wait

    found = Clock()
    monkeypatch.setattr(reports, "time", SimpleNamespace(monotonic=lambda: found.now))
    return found


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_lines_come_within_three_seconds_and_then_less_and_less_often(clock, capsys):
    times = []
    step = Step("measuring the text", total=100)

    def at(now):
        step.done = int(now / 2)
        times.append(now)

    watch(step, Lines(), clock.waits(200, at))
    assert times[:5] == [2, 10, 30, 60, 120] and times[0] < 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[:2] == [
        "measuring the text: 1 of 100, 3m18s left",
        "measuring the text: 5 of 100, 3m10s left",
    ]


def test_a_short_step_is_not_mentioned(clock, capsys):
    watch(Step("measuring"), Lines(), clock.waits(1.9))
    assert capsys.readouterr() == ("", "")


def test_a_step_whose_size_is_not_known(clock, capsys):
    watch(Step("reading the text"), Lines(), clock.waits(5))
    watch(Step("scoring lines", done=70), Lines(), clock.waits(10))
    assert capsys.readouterr().err == "reading the text: 2s so far\nscoring lines: 70 in 2s\n"


def test_a_closed_standard_error_does_not_stop_a_step(clock, monkeypatch):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    watch(Step("measuring"), Lines(), clock.waits(5))


class Recorder:
    """A display that keeps what it is shown, at once."""

    def __init__(self):
        self.shown = threading.Event()
        self.steps = []

    def pauses(self):
        yield 0.0
        self.shown.set()
        yield 3600.0

    def show(self, step):
        self.steps.append((step.what, step.done, step.total))

    def hide(self, step):
        self.steps.append(("end of", step.what, step.done))


def test_the_items_of_a_loop_are_passed_on_and_counted():
    display = Recorder()
    found = []
    for item in Reporter(display).track("abc", "spelling", 3):
        found.append(item)
        assert display.shown.wait(60)
    assert found == ["a", "b", "c"]
    assert display.steps == [("spelling", 0, 3), ("end of", "spelling", 3)]


@pytest.mark.parametrize("error", [None, ZeroDivisionError])
def test_a_loop_that_is_left_ends_its_report(error):
    display = Recorder()
    before = threading.active_count()
    items = Reporter(display).track([1, 2], "counting")
    with pytest.raises(error) if error else contextlib.nullcontext():
        for _ in items:
            assert display.shown.wait(60)
            if error:
                raise error
            break
    items.close()
    assert display.steps[-1][0] == "end of" and threading.active_count() == before


def test_reports_of_a_loop_in_which_an_error_was_raised_end_before_the_error_is_printed():
    display = Recorder()
    items = Reporter(display).track([1, 2], "counting")
    next(items)
    assert display.shown.wait(60)
    end_reports()
    assert display.steps[-1] == ("end of", "counting", 0)
    end_reports()
    items.close()
    assert len(display.steps) == 2


def test_nothing_is_reported_unless_asked_for(capsys):
    assert list(Reporter(None).track([1, 2], "counting")) == [1, 2]
    assert untracked([1, 2], "counting") == [1, 2]
    with Reporter(None).step("waiting") as step:
        assert step.what == "waiting"
    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_a_bar_with_the_time_left(clock, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    bar = Bar()
    step = Step("measuring [red] text", total=10)

    def at(now):
        step.done = int(now * 4)

    watch(step, bar, clock.waits(1.0, at))
    written = sys.stderr.getvalue()
    assert "measuring [red] text" in written and "2 of 10, 2s left" in written
    # the bar is gone, and so is the display
    assert not bar._tasks and not bar._progress.live.is_started


def test_bars_disturb_no_measurement_of_speed(monkeypatch):
    reporter = Reporter(Lines())
    assert timing_reports(reporter) is reporter
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert timing_reports(reporter) is not reporter


def test_who_gets_bars_lines_or_nothing(monkeypatch):
    assert isinstance(reports.reporter()._display, Lines)
    assert reports.reporter(quiet=True)._display is None
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert isinstance(reports.reporter()._display, Bar)


def test_the_bar_of_training_gives_way_to_what_comes_after_its_last_window(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with LiveProgress() as live:
        live.window(Position(window=1, step=1), 2, 1)
        assert [task.fields["what"] for task in live._live.tasks] == ["epoch 1/1  50%"]
        live.window(Position(window=2, step=2), 2, 1)
        assert not live._live.tasks
        step = Step("measuring the test text, protocol exact", total=5)
        live.reports._display.show(step)
        assert [task.fields["what"] for task in live._live.tasks] == [step.what]
        live.reports._display.hide(step)
        live.window(Position(window=1, step=3), 2, 1)
        assert len(live._live.tasks) == 1
        # a planned end within the epoch
        live.window(Position(window=1, step=3, plans=[Plan("max_minutes", 1, 0.1, 0.1, 3)]), 2, 1)
        assert not live._live.tasks


def test_the_loss_is_in_the_unit_of_the_lines_of_validations():
    assert loss_text(0.0) == "perplexity 1.0"
    assert loss_text(0.6931471805599453, bytes_per_token=1) == "1.000 bits/byte"
    assert loss_text(0.6931471805599453, bytes_per_token=2.5) == "perplexity 2.0 (0.400 bits/byte)"
    assert loss_text(0.5, bytes_per_token=None, tagger=True) == "0.500 nats/word"


def test_lines_of_training_have_the_unit_too(monkeypatch, capsys):
    monkeypatch.setattr(sys.modules["refrain.training.progress"], "PLAIN_SECONDS", 0.0)
    plain = PlainProgress()
    plain.begin(lambda nats: f"{nats} of something")
    plain.window(Position(window=1, step=1), 2, 1)
    assert "inf of something" in capsys.readouterr().err


def test_the_line_of_training_has_the_best_validation_and_the_time_left_for_epoch_and_run(monkeypatch):
    seconds = iter([0.0, 5.0, 8.0])
    of_training = sys.modules["refrain.training.progress"]
    monkeypatch.setattr(of_training, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    clock = Clock()
    clock.describe(Position(window=1, step=1), 4, 3)
    clock.validated({"best": True, "perplexity": 99.04, "nats_per_token": 4.6})
    clock.validated({"best": False, "perplexity": 104.0, "nats_per_token": 4.7})
    tally = Tally(nats=20.0, tokens=10)
    text = clock.describe(Position(window=2, step=2, epoch_tally=tally), 4, 3)
    assert text == "perplexity 7.4  best valid 99.0  1 tokens/s  10s left in the epoch, 50s left"
    # in the last epoch both are the same
    assert clock.describe(Position(epoch=2, window=3, step=11, epoch_tally=tally), 4, 3).endswith("tokens/s  1s left")


def test_a_run_that_was_resumed_shows_its_best_validation():
    best = Best(0, 4, math.log(50.0), True, math.log(50.0))
    assert Clock().describe(Position(step=4, best=best), 4, 3).endswith("best valid perplexity 50.0")


@pytest.mark.parametrize(("no_color", "green"), [("", True), ("1", False)])
def test_the_best_validation_is_green_where_colours_are_allowed(no_color, green, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", no_color)
    with LiveProgress() as live:
        live.validated(RECORD)
        live.validated(RECORD | {"best": False, "epoch": 4})
    written = sys.stderr.getvalue()
    assert ("\x1b[32mepoch 3" in written) == green and "epoch 3" in written
    assert "\x1b[32mepoch 4" not in written


RECORD = {
    "epoch": 3,
    "epoch_ended": True,
    "train_perplexity": 12.0,
    "nats_per_token": 2.7080502011022101,
    "perplexity": 15.0,
    "best": True,
    "learning_rate": 0.5,
    "wall_seconds": 33.0,
}


def test_the_time_of_a_line_is_labelled():
    assert epoch_line(RECORD) == "epoch 3  train 12.00  valid 15.00 *  last learning rate 0.5  33s since the start"


def test_a_line_of_characters_or_pieces_has_bits_per_byte_beside_the_perplexity():
    bits = {"nats_per_token": math.log(15), "bits_per_byte": math.log2(15) / 1.25, "train_bits_per_byte": 2.0}
    assert epoch_line(RECORD | bits).startswith("epoch 3  train 12.00  valid 15.00 (3.1255 bits/byte) *  last")
    alone = {"nats_per_token": math.log(15), "bits_per_byte": math.log(15) / math.log(2), "train_bits_per_byte": 2.0}
    assert epoch_line(RECORD | alone).startswith("epoch 3  train 2.0000  valid 3.9069 bits/byte *")


def test_a_sparse_run_shows_its_zeros_the_units_that_are_left_and_its_size():
    sparse = {"sparsity": 0.25, "units": {"embedding": 20, "layer0.hidden": 3}, "compact_parameters": 1234}
    line = epoch_line(RECORD | sparse)
    assert "zeros 25.0%  left 20-3 units, 1,234 parameters" in line
    # a figure of a user's method
    assert "left" not in epoch_line(RECORD | {"sparsity": 0.25, "units": 3})
    assert "left" not in epoch_line(RECORD | {"sparsity": 0.25})


def test_durations():
    assert [duration(seconds) for seconds in (45, 185, 7620)] == ["45s", "3m05s", "2h07m"]


def test_the_rest_of_a_run_is_counted_from_its_position():
    """Epochs of random windows differ in their number, so that the steps so far say nothing about it."""
    position = Position(epoch=4, window=10, step=1_000)
    assert position.steps_of_epochs(windows=100, epochs=5) == position.steps_at_end(100, 5) == 1_090
    position.plans.append(Plan("finish", step=1_000, seconds=1.0, progress=0.8, end=1_020))
    assert position.steps_at_end(100, 5) == 1_020 and position.steps_of_epochs(100, 5) == 1_090
