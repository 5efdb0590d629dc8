"""The lock of a run folder: one writer, whatever happens to the file `.lock`."""

import errno
import os
import stat
import sys
from types import SimpleNamespace

import pytest
import torch
from blocked_modules import lacks
from processes import PATIENCE, forking, started

from refrain.errors import CheckpointError
from refrain.storage import locks
from refrain.storage.run_folder import RunFolder

needs_fcntl = pytest.mark.skipif(lacks("fcntl"), reason="files are locked in another way here")


def save(run, step):
    run.save(step, {"model": {"w": torch.ones(1)}}, {"config": {}}, best=None)


def hold(path, ready, done):
    with RunFolder(path).locked():
        ready.set()
        done.wait(PATIENCE)


@needs_fcntl
def test_a_lock_file_that_is_deleted_lets_nobody_in(tmp_path):
    ready, done = forking().Event(), forking().Event()
    with started(hold, tmp_path, ready, done):
        assert ready.wait(PATIENCE)
        (tmp_path / ".lock").unlink()
        with pytest.raises(CheckpointError, match="in use by another process; wait"), RunFolder(tmp_path).locked():
            pass
        assert not (tmp_path / ".lock").exists()
    # the process was killed, and the lock is gone
    with RunFolder(tmp_path).locked():
        pass


@needs_fcntl
def test_the_owner_continues_without_its_lock_file(tmp_path):
    run = RunFolder(tmp_path)
    run.create()
    with run.locked():
        (tmp_path / ".lock").unlink()
        save(run, 1)
    assert run.newest()[0].folder.name == "step-000000001"


@needs_fcntl
def test_a_folder_that_was_moved_is_written_to_no_more(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.create()
    with run.locked():
        run.path.rename(tmp_path / "elsewhere")
        run.path.mkdir()
        with pytest.raises(CheckpointError, match="was moved or replaced while"):
            run.log({"a": 1})
        assert list(run.path.iterdir()) == []


@needs_fcntl
def test_where_a_folder_cannot_be_locked_the_owner_stops_when_its_lock_file_is_gone(tmp_path, monkeypatch):
    import fcntl

    real = fcntl.flock

    def of_a_network_file_system(handle, operation):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EBADF, "Bad file descriptor")
        return real(handle, operation)

    monkeypatch.setattr(fcntl, "flock", of_a_network_file_system)
    run = RunFolder(tmp_path)
    run.create()
    with run.locked():
        save(run, 1)
        with pytest.raises(CheckpointError, match="in use by process"), RunFolder(tmp_path).locked():
            pass
        (tmp_path / ".lock").unlink()
        (tmp_path / ".lock").write_text("process 1 on another\n")
        for write in (lambda: save(run, 2), lambda: run.log({}), lambda: run.write_text("README.md", "")):
            with pytest.raises(CheckpointError, match=r"\.lock: was removed while"):
                write()
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-000000001"]


@needs_fcntl
def test_windows_locks_a_byte_behind_the_name_of_the_owner(tmp_path, monkeypatch):
    """The functions of Windows, played by those of POSIX."""
    import fcntl

    held = []

    def locking(handle, mode, count):
        place = os.lseek(handle, 0, os.SEEK_CUR)
        assert (mode, count) == (2, 1) and place > 1_000_000
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(errno.EACCES, "Permission denied") from None
        held.append(place)

    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    monkeypatch.setattr(locks, "sys", SimpleNamespace(platform="win32"))
    with RunFolder(tmp_path).locked():
        assert held and (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} on ")
        with pytest.raises(CheckpointError, match="in use by"), RunFolder(tmp_path).locked():
            pass
    with RunFolder(tmp_path).locked():
        pass


def test_without_a_module_for_locks_a_run_still_continues(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    run = RunFolder(tmp_path)
    run.create()
    with run.locked():
        save(run, 1)
    assert run.newest()[0].folder.name == "step-000000001"
