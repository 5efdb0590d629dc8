"""Claims: of several workers one has a cell, a dead one loses it, and one that lost it finds out."""

import json
import threading
import time

import pytest
from blocked_modules import lacks

from refrain.runs.sweeps.claims import Watch, claim, folder_of, generations, heartbeat_of
from refrain.storage.checkpoint import write_once

needs_locks = pytest.mark.skipif(lacks("fcntl"), reason="no module that locks files")


def test_of_many_threads_one_has_the_cell(tmp_path):
    for number in range(1, 20):
        begin, found = threading.Barrier(8), []

        def work(number=number, begin=begin, found=found):
            begin.wait()
            found.append(claim(tmp_path, number, 1, {}))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(each is not None for each in found) == 1
    assert generations(tmp_path) == dict.fromkeys(range(1, 20), 1)


@needs_locks
def test_a_worker_of_this_machine_is_alive_while_it_holds_its_claim(tmp_path):
    held = claim(tmp_path, 3, 1, {"step": 7})
    folder = folder_of(tmp_path, 3, 1)
    with held.held():
        # without patience, so that only the lock tells
        assert Watch(patience=0).is_alive(folder)
        beat = heartbeat_of(folder)
        assert beat["step"] == 7 and beat["locked"] and not beat["ended"]
    assert heartbeat_of(folder)["ended"] and not Watch().is_alive(folder)
    # of one that was killed, the last heartbeat has no end, and the lock is free
    (folder / "heartbeat.json").write_text(json.dumps(beat))
    assert not Watch().is_alive(folder)


def test_a_worker_of_another_machine_is_dead_when_its_heartbeat_has_stopped(tmp_path):
    now = [100.0]
    watch = Watch(patience=60, clock=lambda: now[0])
    folder = folder_of(tmp_path, 1, 1)
    folder.mkdir()
    # killed before its first heartbeat
    assert watch.is_alive(folder)
    for beat in (1, 2):
        (folder / "heartbeat.json").write_text(json.dumps({"machine": "elsewhere", "locked": True, "beat": beat}))
        for _ in range(3):
            assert watch.is_alive(folder)
            now[0] += 29
        now[0] += 1000 * (beat == 1)
    now[0] += 2
    assert not watch.is_alive(folder)
    (folder / "heartbeat.json").write_text(json.dumps({"machine": "elsewhere", "beat": 3, "ended": True}))
    assert not watch.is_alive(folder)


def test_a_heart_beats_and_finds_out_that_the_cell_was_taken_over(tmp_path):
    held = claim(tmp_path, 1, 1, {}, beat_seconds=0.01)
    with held.held():
        first = heartbeat_of(held.folder)["beat"]
        end = time.monotonic() + 20
        while heartbeat_of(held.folder)["beat"] == first and time.monotonic() < end:
            time.sleep(0.01)
        assert heartbeat_of(held.folder)["beat"] > first and not held.lost.is_set() and held.check()
        assert claim(tmp_path, 1, 2, {}) is not None
        assert held.lost.wait(20) and not held.check()


def test_a_file_is_written_once(tmp_path):
    assert write_once(tmp_path / "x", "one") and not write_once(tmp_path / "x", "two")
    assert (tmp_path / "x").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_file_is_written_once_without_hard_links(tmp_path, monkeypatch):
    def refuse(*paths):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    test_a_file_is_written_once(tmp_path)
