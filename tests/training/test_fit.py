"""What a run does around its windows: rates, early stop, saving in time, and figures of the right weights."""

import contextlib
import json
import signal
from types import SimpleNamespace

import pytest
import torch
from short_runs import Stopping, assert_same_bits, quiet, trace

from refrain import assembly, runs
from refrain.assembly.model import build_model
from refrain.assembly.task import build_optimizer, build_task
from refrain.config import NTASGD, SGD, ConstantSchedule, Sparsity
from refrain.errors import CheckpointError
from refrain.storage.run_folder import RunFolder
from refrain.training import Fit, Interrupt, Interrupted, Metrics, Position


def changed(experiment, **training):
    return experiment.model_copy(update={"training": experiment.training.model_copy(update=training)})


def fit(experiment, tmp_path, interrupt=None, **methods):
    """A run by hand, with methods of the test's own."""
    corpus = assembly.build_corpus(experiment.data)
    task = build_task(experiment, corpus, build_model(experiment.model, len(corpus.vocabulary)), methods)
    run = RunFolder(tmp_path / "run")
    run.create()
    position = Position()
    Fit(task, run, {}, Metrics(run), quiet(), interrupt or Interrupt())(position, None)
    return run, position


def test_the_learning_rate_is_scaled_by_the_length_of_a_drawn_window(experiment, tmp_path):
    seen = []

    def note(window):
        seen.append((len(window.inputs), window.optimizer.param_groups[0]["lr"]))

    fit(
        changed(experiment, epochs=1, stop_window=None, optimizer=SGD(), learning_rate=3.0),
        tmp_path,
        note=SimpleNamespace(before_step=note),
    )
    random = experiment.training.windows.kind == "random"
    assert len({steps for steps, _ in seen}) > 1 or not random
    assert [rate for _, rate in seen] == pytest.approx([3.0 * steps / 15 if random else 3.0 for steps, _ in seen])


def test_weight_decay_and_rate_reach_the_optimizer(experiment):
    model = build_model(experiment.model, 9)
    group = build_optimizer(changed(experiment, weight_decay=0.03, learning_rate=0.5).training, model).param_groups[0]
    assert (group["weight_decay"], group["lr"]) == (0.03, 0.5)
    assert sum(parameter.numel() for parameter in group["params"]) == sum(p.numel() for p in model.parameters())


def test_an_early_stop_resumes(experiment, tmp_path):
    """A rate that throws the weights about stops the run; so it does after a restart just before."""
    wild = changed(
        experiment,
        epochs=30,
        stop_window=1,
        optimizer=SGD(),
        learning_rate=60.0,
        schedule=ConstantSchedule(),
    )
    progress = Stopping(10**9)
    first = runs.train(wild, tmp_path / "unbroken", progress=progress)
    assert 2 < first["epochs"] < 30 and first["stopped"] is True
    assert [line for line in progress.lines if line.startswith("training stops: ") and "(stop_window)" in line]
    assert "A rule stopped the run before its last epoch." in (tmp_path / "unbroken" / "README.md").read_text()
    last = json.loads((tmp_path / "unbroken" / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    with pytest.raises(Interrupted):
        runs.train(wild, tmp_path / "stopped", progress=Stopping(last - 2))
    again = runs.resume(tmp_path / "stopped", progress=quiet())
    assert again["epochs"] == first["epochs"]
    assert_same_bits(trace(tmp_path / "stopped"), trace(tmp_path / "unbroken"))


@pytest.mark.parametrize("part", ["schedule", "averaging", "early_stop"])
def test_a_validation_counts_for_a_stall_once_the_asked_for_sparsity_is_there(experiment, tmp_path, monkeypatch, part):
    reported, sparse = [], Sparsity(prune={"share": 0.5, "end": 0.6})
    pruned = changed(experiment, epochs=5, optimizer=NTASGD(trigger_window=1), stop_window=3, learning_rate=0.5)
    corpus = assembly.build_corpus(pruned.data)
    pruned = pruned.model_copy(update={"sparsity": sparse})
    task = build_task(pruned, corpus, build_model(pruned.model, len(corpus.vocabulary)))
    if part == "schedule":
        monkeypatch.setattr(task.schedule, "validated", lambda judged: reported.append(task.methods.settled()))
    else:
        method = task.methods[part]
        validated = method.validated

        def counted():
            return len(method.state_dict()["validations"])

        def count(record):
            before, verdict = counted(), validated(record)
            reported.extend([task.methods.settled()] * (counted() - before))
            return verdict

        monkeypatch.setattr(method, "validated", count)
    run, position = RunFolder(tmp_path / "run"), Position()
    run.create()
    Fit(task, run, {}, Metrics(run), quiet(), Interrupt())(position, None)
    # three of five epochs are 0.6 of the run
    assert reported == [True] * 3


def test_checkpoints_come_in_time_whatever_the_lines_of_metrics(experiment, tmp_path):
    saved = []

    class Counting(RunFolder):
        def save(self, step, *rest, **more):
            saved.append(step)
            return super().save(step, *rest, **more)

    experiment = changed(experiment, log_windows=100_000, checkpoint_minutes=1e-9)
    corpus = assembly.build_corpus(experiment.data)
    task = build_task(experiment, corpus, build_model(experiment.model, len(corpus.vocabulary)))
    run = Counting(tmp_path / "run")
    run.create()
    Fit(task, run, {}, Metrics(run), quiet(), Interrupt())(Position(), None)
    assert set(saved) >= set(range(1, len(task.windows(0))))


def test_a_signal_between_saving_and_leaving_waits_for_the_next_save(experiment, tmp_path):
    class Late(Interrupt):
        """Says nothing at the first look after window 3, and something at every later one."""

        looks = 0

        @property
        def signal_number(self):
            self.looks += 1
            return 15 if self.looks > 9 else None

        @signal_number.setter
        def signal_number(self, value):
            pass

    try:
        fit(changed(experiment, log_windows=3), tmp_path, interrupt=Late())
    except Interrupted as stopped:
        document = RunFolder(tmp_path / "run").newest()[0].document("training")
        assert f"after window {document['position']['window']};" in str(stopped)
    else:
        pytest.fail("nobody stopped the run")


def test_a_signal_during_the_last_save_stops_the_run(experiment, tmp_path):
    interrupt = Interrupt()

    class Signalled(RunFolder):
        def save(self, step, *rest, **more):
            if rest[1]["training"]["position"]["epoch"] == task.epochs:
                interrupt.signal_number = 15
            return super().save(step, *rest, **more)

    corpus = assembly.build_corpus(experiment.data)
    task = build_task(experiment, corpus, build_model(experiment.model, len(corpus.vocabulary)))
    run = Signalled(tmp_path / "run")
    run.create()
    with pytest.raises(Interrupted):
        Fit(task, run, {}, Metrics(run), quiet(), interrupt)(Position(), None)
    assert run.newest()[0].document("training")["position"]["epoch"] == task.epochs


def test_no_handler_of_errors_takes_a_stopped_run_for_one():
    assert not issubclass(Interrupted, Exception | KeyboardInterrupt)
    stopped = Interrupted(signal.SIGTERM, "stopped in epoch 1", "refrain train --resume runs/mine")
    assert str(stopped) == "stopped in epoch 1; continue with: refrain train --resume runs/mine"
    assert (stopped.exit_status, Interrupted(signal.SIGINT, "").exit_status) == (143, 130)


@pytest.mark.parametrize("error", [None, ValueError, Interrupted])
def test_a_signal_with_which_nothing_was_done_is_sent_again(error):
    received = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        with contextlib.suppress(ValueError, Interrupted), Interrupt() as interrupt:
            signal.raise_signal(signal.SIGTERM)
            assert interrupt.signal_number == signal.SIGTERM and not received
            if error is not None:
                raise error(*[signal.SIGTERM, ""] if error is Interrupted else [])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == ([] if error is Interrupted else [signal.SIGTERM])


def test_a_signal_before_the_first_window_validates_nothing(experiment, tmp_path):
    interrupt = Interrupt()
    interrupt.signal_number = 15
    with pytest.raises(Interrupted, match="in epoch 1 after window 0"):
        fit(changed(experiment, validation_windows=1), tmp_path, interrupt)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_the_final_figures_are_those_of_the_best_weights_or_none(experiment, tmp_path):
    out = tmp_path / "run"
    runs.train(experiment, out, progress=quiet())
    best = (out / "best").resolve()
    victim = best / "model.safetensors"
    victim.write_bytes(victim.read_bytes()[:-1])
    newest = sorted((out / "checkpoints").glob("step-*"))[-1]
    if best == newest:
        pytest.skip("the best is the newest, which is passed over as a whole")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged"):
        runs.resume(out, progress=quiet())


def test_a_resume_on_another_machine_says_so(experiment, tmp_path, capsys):
    from refrain.training import PlainProgress

    out = tmp_path / "run"
    runs.train(experiment, out, progress=quiet())
    manifest = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps({**manifest, "threads": 99}))
    runs.resume(out, progress=PlainProgress())
    expected = f"threads was 99, is {torch.get_num_threads()}; the run continues, but perhaps not bit for bit"
    assert expected in capsys.readouterr().err
