"""Disks that are full or cannot be written: status 4, the checkpoint before intact, nothing half-written."""

import contextlib
import errno
import json
import os
import pathlib

import pytest

from refrain.storage.locks import try_lock


def refusing(error, here, real):
    """A function of pathlib that fails under a folder and works elsewhere."""

    def function(self, *arguments, **options):
        if here in (self, *self.parents):
            raise OSError(error, os.strerror(error), str(self))
        return real(self, *arguments, **options)

    return function


@pytest.mark.parametrize("error", [errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written(mistake, train, tiny_corpus, tmp_path, monkeypatch, error):
    monkeypatch.setattr(pathlib.Path, "mkdir", refusing(error, tmp_path / "run", pathlib.Path.mkdir))
    mistake(4, train(tiny_corpus), f"run: cannot be written ({os.strerror(error)}); choose another --out")
    assert not (tmp_path / "run").exists()


def test_a_run_that_cannot_be_locked(mistake, run_copy, monkeypatch):
    real = os.open

    def refuse(path, *arguments, **options):
        if str(path).endswith(".lock"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    mistake(4, ["train", "--resume", "--out", run_copy], f"{run_copy}: cannot be written (Read-only file system)")


def test_a_cache_that_cannot_be_written(mistake, train, tiny_corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pathlib.Path, "mkdir", refusing(errno.EROFS, tmp_path / "cache", pathlib.Path.mkdir))
    mistake(4, train(tiny_corpus), "cache", "Read-only file system; choose a folder that can be written")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(mistake, train, tiny_corpus, tmp_path):
    (tmp_path / "run").mkdir(mode=0o500)
    mistake(4, train(tiny_corpus), "cannot be written (Permission denied)")


def test_a_run_can_be_read_where_nothing_can_be_written(refrain, run_copy, cache, monkeypatch, write, tree):
    text = write("text.txt", "ant\n")
    before = tree(run_copy)
    commands = [["evaluate", run_copy], ["generate", run_copy, "--tokens", "3"], ["score", run_copy, text]]
    for words in commands:
        assert refrain(*words).status == 0
    for name in ("mkdir", "write_text", "write_bytes", "rename", "replace", "unlink"):
        monkeypatch.setattr(pathlib.Path, name, refusing(errno.EROFS, run_copy, getattr(pathlib.Path, name)))
    for words in commands:
        assert refrain(*words).status == 0
    assert tree(run_copy) == before


@pytest.fixture
def full_disk(monkeypatch):
    """The disk takes `count` files of a checkpoint more, then none."""

    @contextlib.contextmanager
    def filling(count):
        real, left = pathlib.Path.write_bytes, [count]

        def write_bytes(self, content):
            left[0] -= "checkpoints" in str(self)
            if left[0] < 0:
                real(self, content[: len(content) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(self, content)

        with monkeypatch.context() as patch:
            patch.setattr(pathlib.Path, "write_bytes", write_bytes)
            yield

    return filling


def test_a_disk_that_is_full_from_the_start(mistake, train, tiny_corpus, tmp_path, full_disk):
    with full_disk(0):
        mistake(4, train(tiny_corpus), "No space left on device", tmp_path / "run")
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []


@pytest.mark.parametrize("files", [6, 9])
def test_a_disk_that_runs_full_keeps_the_checkpoint_before(
    mistake, refrain, train, tiny_corpus, tiny_run, tmp_path, full_disk, files, checkpoints
):
    # a checkpoint has five files: the second one fails at its second or fifth
    run = tmp_path / "run"
    with full_disk(files):
        mistake(4, train(tiny_corpus), "No space left on device")
    (kept,) = checkpoints(run)
    assert kept.name == "step-000000000"
    found = refrain("train", "--resume", "--out", run, "--json").json
    wanted = json.loads((tiny_run / "summary.json").read_text())
    assert (found["valid"], found["test"]) == (wanted["valid"], wanted["test"])


def test_a_disk_that_is_full_when_text_is_prepared(mistake, train, write, tmp_path, monkeypatch):
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "cache"))

    def fail(path, blocks):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("refrain.data.units.encoded.write_tokens", fail)
    write("corpus/valid.txt", "a\n")
    mistake(4, train(write("corpus/train.txt", "a\n").parent), "No space left on device; free some space")
    assert list((tmp_path / "cache" / "words").iterdir()) == []


def test_a_table_that_cannot_be_written(mistake, tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(pathlib.Path, "open", refusing(errno.EACCES, tmp_path / "out", pathlib.Path.open))
    (tmp_path / "out").mkdir()
    words = ["evaluate", tiny_run, "--per-token", tmp_path / "out" / "table.tsv"]
    mistake(4, words, "Permission denied; choose a folder that can be written")
    mistake(2, ["evaluate", tiny_run, "--per-token", tmp_path], "--per-token:", "must be a file")


def test_the_lock_is_let_go_after_a_mistake(mistake, train, tiny_corpus, tmp_path, full_disk):
    with full_disk(0):
        mistake(4, train(tiny_corpus), "No space left")
    with (tmp_path / "run" / ".lock").open("r+") as file:
        assert try_lock(file.fileno())
