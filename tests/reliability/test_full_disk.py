"""Promise 4: on a disk that is full, a run ends with one line and status 4, and continues once there is space."""

import contextlib
import io
import os
import random
import shutil
import subprocess
from types import SimpleNamespace

import pytest
from processes import PATIENCE
from short_runs import assert_same_bits, trace
from tiny_runs import EVERY_WINDOW, assert_loadable, command, leftovers, resume_run

NAME = "word-gru"
MEBIBYTE = 2**20
FILLED_AT = 5


@pytest.fixture
def words(prepared, tmp_path):
    return prepared.words(NAME, tmp_path / "run", EVERY_WINDOW)


def check_ended(process, status, out):
    """One line with the path, the last checkpoint whole, and no part of another."""
    assert status == 4, process.text()
    assert str(out) in process.complaint()
    assert_loadable(out)
    assert leftovers(out) == []


def train_with_small_files(words, limit):
    """Train where no file may have more than `limit` bytes."""
    import resource

    said, before = io.StringIO(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    with contextlib.redirect_stderr(said):
        status = command(words)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    print(said.getvalue())
    return status


def test_files_that_may_not_grow(trials, report, prepared, forks, words, tmp_path):
    pytest.importorskip("resource")
    whole = prepared.uninterrupted(NAME)
    # a report that cannot be written is a warning
    found = [path for path in whole.rglob("*") if path.is_file() and not path.is_symlink()]
    files = [path for path in found if path.name != "report.html"]
    largest = max(path.stat().st_size for path in files)
    count, out, ended = trials(2, 20), tmp_path / "run", 0
    for number in range(count):
        process, status = forks.status(train_with_small_files, words, largest * (number + 1) // (count + 1))
        check_ended(process, status, out)
        assert "File too large" in process.complaint()
        assert "make the folder writable" not in process.complaint()
        resume_run(forks, words, out)
        assert_same_bits(trace(out), trace(whole))
        shutil.rmtree(out)
        ended += 1
    report("full disk", f"{ended} limits of file sizes: status 4, one line, then the same bits")


def train_on_a_filling_disk(words, filler, left):
    """Train, and after some windows fill the disk but for `left` bytes."""
    from refrain.training import PlainProgress

    real = PlainProgress.window

    def window(self, position, windows, epochs):
        if position.step == FILLED_AT and not filler.exists():
            filler.write_bytes(bytes(max(0, shutil.disk_usage(filler.parent).free - left)))
        real(self, position, windows, epochs)

    PlainProgress.window = window
    return command(words)


@pytest.fixture
def small_disk(tmp_path, request):
    """A disk of a mebibyte; only root can make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if not request.config.getoption("reliability") or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a small disk is mounted by root, with --reliability")
    if subprocess.run(mount, capture_output=True, timeout=PATIENCE).returncode != 0:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=PATIENCE)


def test_a_disk_that_runs_full(trials, report, prepared, forks, small_disk):
    whole, out, filler = prepared.uninterrupted(NAME), small_disk / "run", small_disk / "filler"
    words = prepared.words(NAME, out, EVERY_WINDOW)
    one = sum(path.stat().st_size for path in (whole / "best").iterdir())
    count, draw, ended = trials(3, 20), random.Random(4), 0
    for number in range(count):
        # from a disk without a byte left to one that has almost as many as a checkpoint
        left = number * one // count
        process, status = forks.status(train_on_a_filling_disk, words, filler, left + draw.randrange(4096))
        check_ended(process, status, out)
        assert "No space left on device" in process.complaint()
        assert "bytes are free" in process.complaint()
        filler.unlink()
        resume_run(forks, words, out)
        assert_same_bits(trace(out), trace(whole))
        shutil.rmtree(out)
        ended += 1
    report("full disk", f"{ended} disks that ran full: status 4, one line, then the same bits")


def test_a_disk_that_is_too_small_is_refused_before_the_first_step(prepared, forks, small_disk):
    out = small_disk / "run"
    (small_disk / "filler").write_bytes(bytes(MEBIBYTE - 16384))
    process, status = forks.status(command, prepared.words(NAME, out))
    assert status == 4
    assert "bytes are free, but the checkpoints of this run need about" in process.complaint()
    assert not out.exists()


def train_with_reported_space(words, total, free):
    """Train on a disk that reports these sizes, or an error where `total` is None."""

    def disk_usage(path):
        if total is None:
            raise OSError("unknown")
        return SimpleNamespace(total=total, free=free)

    shutil.disk_usage = disk_usage
    return command(words)


def test_space_is_checked_before_the_first_step_where_it_is_known(prepared, forks, words, tmp_path):
    process, status = forks.status(train_with_reported_space, words, MEBIBYTE, 1000)
    assert status == 4
    line = process.complaint()
    assert line.startswith(f"refrain: {tmp_path / 'run'}: 1,000 bytes are free, but the checkpoints of this run need ")
    assert not (tmp_path / "run").exists()
    for total in (0, None):
        process, status = forks.status(train_with_reported_space, [*words, "--force"], total, 0)
        assert status == 0, process.text()
    assert_same_bits(trace(tmp_path / "run"), trace(prepared.uninterrupted(NAME)))


def test_the_space_of_a_run_that_is_replaced_counts(prepared, forks, words, tmp_path):
    shutil.copytree(prepared.uninterrupted(NAME), tmp_path / "run", symlinks=True)
    size = sum(path.lstat().st_size for path in (tmp_path / "run").rglob("*"))
    process, status = forks.status(train_with_reported_space, [*words, "--force"], MEBIBYTE, 100_000)
    assert status == 0 and size > 30_000, process.text()


def estimate(prepared, name, file):
    """Write the estimated size of a checkpoint to a file."""
    from refrain.runs.kinds import kind_of
    from refrain.runs.space import checkpoint_bytes

    experiment = prepared.experiment(name)
    kind = kind_of(experiment)
    corpus = kind.corpus(experiment, lambda line: None)
    file.write_text(str(checkpoint_bytes(kind.task(experiment, corpus, kind.model(experiment, corpus)))))


@pytest.mark.parametrize("name", ["byte-lstm", "word-gru", "awd"])
def test_the_estimated_size_of_a_checkpoint_is_near_the_real_one(name, prepared, forks, tmp_path):
    _, status = forks.status(estimate, prepared, name, tmp_path / "size")
    whole = prepared.uninterrupted(name)
    real = sum(path.stat().st_size for path in (whole / "best").resolve().glob("*.safetensors"))
    assert status == 0
    # headers and JSON are small beside the tensors of larger models
    assert 0.6 * real < int((tmp_path / "size").read_text()) < 1.5 * real
