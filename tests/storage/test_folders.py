"""The cache: a full one is named, and many threads and processes may prepare one text at a time."""

import errno
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from refrain.data.text.cleaning import cleaned_files
from refrain.data.text.files import sha256_of, whole
from refrain.data.units.word.corpus import open_word_corpus
from refrain.errors import UserError
from refrain.storage import checkpoint
from refrain.storage.checkpoint import atomic_folder, write_atomically
from refrain.storage.folders import CacheError, cache_folder, cached_folder

THREADS = 8


def at_once(act):
    """Call `act(0)` to `act(7)` in as many threads at the same time, and return what they return."""
    gate = threading.Barrier(THREADS)

    def one(index):
        gate.wait(60)
        return act(index)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, range(THREADS)))


def test_threads_prepare_one_text_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "cache"))
    for turn in range(5):
        text = tmp_path / f"{turn}.txt"
        text.write_text(f"a b {turn}\n" * 50)
        spans = {"train": whole(text)}
        found = at_once(lambda index, spans=spans: open_word_corpus("mine", spans))
        assert {len(corpus.splits["train"].tokens) for corpus in found} == {200}
        digests = {"train": sha256_of(spans["train"])}
        cleaned = at_once(lambda index, s=spans, d=digests: cleaned_files("mine", s, d, "reviews")["train"])
        assert len({path.read_bytes() for path in cleaned}) == 1
    assert not [path for path in (tmp_path / "cache").rglob(".tmp-*")]


def test_threads_write_one_file_at_a_time(tmp_path):
    for _ in range(20):
        at_once(lambda index: write_atomically(tmp_path / "a.txt", str(index) * 1000))
        content = (tmp_path / "a.txt").read_text()
        assert len(content) == 1000 and len(set(content)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_the_first_folder_wins(tmp_path):
    def make(index):
        with atomic_folder(tmp_path / "x") as fresh:
            (fresh / "file").write_text(str(index))
        return (tmp_path / "x" / "file").read_text()

    assert len(set(at_once(make))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_what_was_left_long_ago_is_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path))
    for name, days in (("old", 8), ("new", 1)):
        (tmp_path / f".tmp-{name}").mkdir()
        (tmp_path / f".tmp-{name}" / "part").write_text("x")
        os.utime(tmp_path / f".tmp-{name}", (time.time() - days * 86400,) * 2)
    with cached_folder(tmp_path / "x"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {".tmp-new", "x"}


def test_names_of_any_length_are_written(tmp_path):
    write_atomically(tmp_path / ("é" * 127), "x")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_cache_that_cannot_be_written_is_named_with_its_variable(number, tmp_path, monkeypatch):
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "cache"))

    def failing(self, *more, **others):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", failing)
    with pytest.raises(CacheError) as failure, cached_folder(tmp_path / "cache" / "x") as fresh:
        (fresh / "file").write_bytes(b"")
    message = str(failure.value)
    assert message.startswith(f"{tmp_path / 'cache'}: {os.strerror(number)}; ")
    assert "REFRAIN_CACHE" in message and ("bytes are free" in message) == (number != errno.EROFS)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_in_the_place_of_a_file_is_named(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "cache"))
    with pytest.raises(CacheError, match=r"cache: .*; choose a folder that can be written; .* REFRAIN_CACHE"):
        open_word_corpus("mine", {"train": whole(_text(tmp_path))})


def test_a_text_that_cannot_be_read_is_not_blamed_on_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "cache"))
    with pytest.raises(PermissionError, match=r"text\.txt"), cached_folder(tmp_path / "cache" / "x"):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "text.txt"))


def test_the_error_for_a_user_without_a_home_names_the_variable(monkeypatch):
    monkeypatch.delenv("REFRAIN_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(UserError, match="REFRAIN_CACHE"):
        cache_folder()


def test_an_error_of_flushing_is_reported_with_the_path(tmp_path, monkeypatch):
    def failing(handle):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(checkpoint.os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output error") as failure:
        write_atomically(tmp_path / "a.txt", "x")
    assert Path(failure.value.filename).parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def _text(folder):
    path = folder / "text.txt"
    path.write_text("a b\n")
    return path
