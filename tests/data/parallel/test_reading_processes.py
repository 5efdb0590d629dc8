"""Processes that read a text: their results are taken in order, and none is left, however the work ends."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from refrain.data.parallel import processes
from refrain.data.parallel.processes import do_job
from refrain.data.text import pieces
from refrain.data.text.files import whole
from refrain.data.text.pieces import pieces_of
from refrain.errors import DataError, UserError


@pytest.fixture
def running(monkeypatch):
    """The processes that are started, in order."""
    found = []
    popen = subprocess.Popen

    def start(*arguments, **options):
        found.append(popen(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(processes.subprocess, "Popen", start)
    yield found
    for process in found:
        with contextlib.suppress(OSError):
            process.kill()


@pytest.fixture
def encode(write, tmp_path, monkeypatch):
    """Encodes some texts by two processes, a line for each group of pieces."""
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1)
    vocabulary = write("vocabulary.json", '{"unit": "word", "words": ["<eos>", "<unk>", "a"]}')

    def run(text, take=lambda result: None, job="encode", workers=2, **options):
        settings = {
            "vocabulary": str(vocabulary),
            "folder": str(tmp_path),
            "errors": "strict",
            "whole_lines": True,
            "whole_words": True,
        }
        groups = list(pieces_of(whole(write("text", text))))
        return do_job(job, {**settings, **options}, groups, workers=workers, take=take)

    return run


def test_results_are_taken_in_order(encode, running):
    found = []
    assert encode(b"".join(b"a b " * (number % 7) + b"\n" for number in range(300)), found.append) == [None, None]
    assert found == [[1, number % 7, 2 * (number % 7) + 1] for number in range(300)]
    assert [process.returncode is not None for process in running] == [True, True]


def test_no_more_processes_than_groups(encode, running):
    encode(b"a\nb\n", workers=5)
    assert len(running) == 2
    encode(b"a\n", workers=5)
    assert len(running) == 2


def test_the_first_error_of_the_text_is_raised(encode, running):
    lines = [b"a\n"] * 60
    lines[20], lines[21], lines[50] = b"\xff\n", b"a \xfe\n", b"\xfd\n"
    found = []
    with pytest.raises(DataError, match=r"text: invalid UTF-8 at byte 40 \(0xff\)"):
        encode(b"".join(lines), found.append)
    assert len(found) == 20
    assert all(process.returncode is not None for process in running)


def test_a_process_that_is_killed_is_named(encode, running):
    with pytest.raises(UserError, match=r"a process that reads the text ended .*; free some memory, or .*workers=1"):
        encode(b"a\n" * 2000, lambda result: running[1].kill())
    assert all(process.returncode is not None for process in running)


def test_an_interrupt_ends_all_processes(encode, running):
    def interrupt(result):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode(b"a\n" * 2000, interrupt)
    assert len(running) == 2 and all(process.returncode is not None for process in running)


def ignores_interrupts(process):
    if process.poll() is not None:
        return True
    (mask,) = re.findall(r"SigIgn:\s+(\w+)", pathlib.Path(f"/proc/{process.pid}/status").read_text())
    return int(mask, 16) >> (signal.SIGINT - 1) & 1


@pytest.mark.skipif(sys.platform != "linux", reason="the signals that a process ignores are not known")
def test_processes_leave_an_interrupt_to_the_one_that_started_them(encode, running):
    found = []

    def interrupt(result):
        found.append(result)
        if len(found) == 1:
            deadline = time.monotonic() + 60
            while not all(map(ignores_interrupts, running)) and time.monotonic() < deadline:
                time.sleep(0.01)
            for process in running:
                process.send_signal(signal.SIGINT)

    encode(b"a\n" * 500, interrupt)
    assert found == [[1, 0, 2]] * 500


def test_other_errors_of_a_process(encode, monkeypatch):
    with pytest.raises(FileNotFoundError) as caught:
        encode(b"a\n" * 9, folder="/nowhere/at/all")
    assert caught.value.filename.startswith("/nowhere/at/all")
    with pytest.raises(RuntimeError, match="there is no job with the name dance"):
        encode(b"a\n" * 9, job="dance")
    monkeypatch.setattr(sys, "executable", "/no/python")
    with pytest.raises(UserError, match=r"cannot be started \(No such file or directory\); .*data\.workers=1"):
        encode(b"a\n" * 9)


SCRIPT = """
import os, sys
from refrain.data import open_word_corpus
from refrain.data.text import pieces
from refrain.data.text.files import whole
from pathlib import Path

pieces.PIECE_BYTES = 1000
print("once")
if sys.argv[1] == "die":
    from refrain.data.units import encoded
    encoded.shutil.copyfileobj = lambda *arguments: os._exit(9)
corpus = open_word_corpus("text", dict.fromkeys(("train", "valid"), whole(Path("text.txt"))), workers=2)
print(len(corpus.splits["train"].tokens))
"""


@pytest.mark.parametrize("word", ["live", "die"])
def test_a_script_without_a_guard_and_one_that_dies(write, tmp_path, own_environment, word):
    """Nothing of the script is run again, nor a module of the current folder; no process outlives the script."""
    write("text.txt", "a b\n" * 5000)
    write("json.py", "raise SystemExit('a wrong module')")
    done = subprocess.run(
        [sys.executable, write("scripts/script.py", SCRIPT), word],
        cwd=tmp_path,
        env={**own_environment, "REFRAIN_CACHE": str(tmp_path / word)},
        capture_output=True,
        text=True,
        # it returns when all processes have closed the standard error that they share
        timeout=60,
    )
    if word == "live":
        assert (done.stdout, done.stderr, done.returncode) == ("once\n15000\n", "", 0)
    else:
        assert (done.stdout, done.stderr, done.returncode) in (("once\n", "", 9), ("", "", 9))


def test_processors():
    assert 1 <= processes.usable_processors() <= (os.cpu_count() or 1)
