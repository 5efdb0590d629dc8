"""The run folder: never overwritten by accident, one writer, the last two checkpoints and the best."""

import sys

import pytest
import torch
from blocked_modules import lacks
from processes import PATIENCE, forking, started

from refrain.errors import CheckpointError
from refrain.storage.run_folder import RunFolder


def save(run, step, best):
    run.save(step, {"model": {"w": torch.tensor([float(step)])}}, {"config": {}}, best=best)


def steps(run):
    return sorted(int(path.name.removeprefix("step-")) for path in run.checkpoints.iterdir())


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "README.md").write_text("precious")
    run = RunFolder(tmp_path)
    with pytest.raises(CheckpointError, match=r"exists already and holds other files than those of a run; .* --out$"):
        run.create()
    with pytest.raises(CheckpointError, match="holds other files than those of a run"):
        run.create(force=True)
    (tmp_path / "config.json").write_text("mine too")
    (tmp_path / "samples").mkdir()
    with pytest.raises(CheckpointError, match="holds other files than those of a run"):
        run.create(force=True)
    assert (tmp_path / "README.md").read_text() == "precious"


def test_the_checkpoints_of_another_program_are_left_alone(tmp_path):
    run = RunFolder(tmp_path)
    run.create()
    run.write_json("config.json", {})
    save(run, 1, 1)
    (run.checkpoints / "damaged-step-000000001").mkdir()
    (run.checkpoints / ".DS_Store").write_text("of the system")
    assert run.is_run()
    (run.checkpoints / "model.ckpt").write_text("precious")
    with pytest.raises(CheckpointError, match="holds other files than those of a run"):
        RunFolder(tmp_path).create(force=True)
    assert (run.checkpoints / "model.ckpt").read_text() == "precious"


def test_force_replaces_a_run_and_leaves_what_no_run_wrote(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.create()
    save(run, 1, 1)
    run.write_json("config.json", {})
    (tmp_path / "run" / "mine.txt").write_text("precious")
    run.create(force=True)
    assert (tmp_path / "run" / "mine.txt").read_text() == "precious"
    assert not (tmp_path / "run" / "config.json").exists() and steps(run) == []


def test_a_run_that_was_killed_at_its_first_file_can_be_replaced(tmp_path):
    run = RunFolder(tmp_path)
    run.create()
    (tmp_path / ".tmp-config.json-77").write_text("{")
    run.create(force=True)
    assert not (tmp_path / ".tmp-config.json-77").exists()


def test_looking_for_a_checkpoint_changes_nothing(tmp_path):
    run = RunFolder(tmp_path)
    run.create()
    save(run, 1, None)
    (run.checkpoints / ".tmp-step-000000002-77").mkdir()
    run.newest()
    assert (run.checkpoints / ".tmp-step-000000002-77").is_dir()
    (run.checkpoints / "step-000000009").mkdir()
    (tmp_path / "samples").mkdir(exist_ok=True)
    halves = [tmp_path / ".tmp-summary.json-77", tmp_path / "samples" / ".tmp-epoch-001.txt-77"]
    for half in halves:
        half.write_text("half")
    run.tidy(run.newest()[0].folder)
    assert not any(half.exists() for half in halves)
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["damaged-step-000000009", "step-000000001"]


def test_a_file_in_the_way_is_never_replaced(tmp_path):
    (tmp_path / "run").write_text("precious")
    with pytest.raises(CheckpointError, match=r"exists already and is no folder; choose another --out$"):
        RunFolder(tmp_path / "run").create(force=True)
    assert (tmp_path / "run").read_text() == "precious"


def test_keeps_the_last_two_and_the_best(tmp_path):
    run = RunFolder(tmp_path)
    run.create()
    for step, best in ((0, None), (10, 10), (20, 10), (30, 10), (40, 10)):
        save(run, step, best)
    assert steps(run) == [10, 30, 40]
    assert (tmp_path / "best").resolve() == run.checkpoints / "step-000000010"
    save(run, 50, 50)
    assert steps(run) == [40, 50]
    assert (tmp_path / "best").is_symlink() and not (tmp_path / "best").readlink().is_absolute()


def test_metrics_are_appended_and_cut_back(tmp_path):
    run = RunFolder(tmp_path)
    run.create()
    first = run.log({"a": 1})
    run.log({"a": 2})
    run.cut_metrics(first)
    run.log({"a": float("inf")})
    assert run.metrics.read_text() == '{"a": 1}\n{"a": null}\n'
    # a file that lost its end is not filled up
    run.cut_metrics(1000)
    assert run.metrics.read_text() == '{"a": 1}\n{"a": null}\n'


def test_missing_and_damaged_files_are_named(tmp_path):
    run = RunFolder(tmp_path)
    with pytest.raises(CheckpointError, match=r"not a run folder \(it holds no config\.json\)"):
        run.read_json("config.json")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json: cannot be read"):
        run.read_json("config.json")


def hold(path, ready, done):
    with RunFolder(path).locked():
        ready.set()
        done.wait(PATIENCE)


@pytest.mark.skipif(lacks("fcntl") and sys.platform != "win32", reason="no module that locks files")
def test_one_process_writes(tmp_path):
    ready, done = forking().Event(), forking().Event()
    with started(hold, tmp_path, ready, done) as process:
        assert ready.wait(PATIENCE)
        with pytest.raises(CheckpointError, match=f"in use by process {process.pid} on"), RunFolder(tmp_path).locked():
            pass
    # the kernel releases a killed process's lock
    with RunFolder(tmp_path).locked():
        pass


def test_a_full_disk_is_one_line_with_the_remedy(tmp_path, monkeypatch):
    import errno

    from refrain.storage import checkpoint

    run = RunFolder(tmp_path)
    run.create()
    save(run, 1, 1)

    def full(self, content):
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(checkpoint.Path, "write_bytes", full)
    with pytest.raises(CheckpointError, match=r"No space left on device; [\d,]+ bytes are free.*--resume --out"):
        save(run, 2, 1)
    monkeypatch.undo()
    assert steps(run) == [1] and run.newest()[0].tensors("model")["w"].item() == 1


def test_training_in_another_thread_is_deaf_to_signals():
    import threading

    from refrain.training import Interrupt

    failures = []

    def enter():
        try:
            with Interrupt() as interrupt:
                assert interrupt.signal_number is None
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert not failures
