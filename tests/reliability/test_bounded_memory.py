"""Memory does not grow with the size of a text, the length of a line or the length of a run."""

import ctypes
import json
import os
import pathlib
import random
import sys
import threading

import numpy as np
import pytest
from bounds import resource
from processes import started

from refrain import runs
from refrain.assembly import build_corpus
from refrain.config import Data
from refrain.data import TokenFile, Windows
from refrain.data.units.word.counting import TABLE_WORDS
from refrain.evaluation import score_lines
from refrain.recipes import recipe
from refrain.training import PlainProgress

STATUS = pathlib.Path("/proc/self/statm")
DESCRIPTORS = pathlib.Path("/proc/self/fd")
MEGABYTE = 2**20
MOST_GROWTH = 20 * MEGABYTE
# a gigabyte is prepared in minutes
HOUR = 3600

needs_memory_figures = pytest.mark.skipif(
    resource is None or not STATUS.exists(), reason="the system does not report the memory of a process"
)


def resident():
    """The memory in bytes that this process has now."""
    return int(STATUS.read_text().split()[1]) * resource.getpagesize()


def return_large_buffers():
    """Make the allocator of glibc return each buffer of a megabyte to the system as soon as it is released.

    Otherwise it keeps some of them, which depends on their order and adds up to 50 MB, different in each process.
    """
    mallopt, threshold = getattr(ctypes.CDLL(None), "mallopt", None), -3
    if mallopt is not None:
        mallopt(threshold, MEGABYTE)


def measure(path, work, *arguments):
    """Write by how many bytes the memory of this process grew during `work(*arguments)`, and what that returns."""
    return_large_buffers()
    before = resident()
    found = work(*arguments)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    path.write_text(json.dumps([grown, found]))


def in_a_process(path, work, *arguments):
    """The growth of memory in bytes during `work(*arguments)` in a process of its own, and what it returns."""
    with started(measure, path, work, *arguments) as process:
        process.join(HOUR)
        assert process.exitcode == 0
    return json.loads(path.read_text())


def write_text(path, megabytes):
    """A text of that size, made of the same lines again and again in another order."""
    draw = random.Random(megabytes)
    lines = [" ".join(f"word{int(draw.paretovariate(0.6)) % 5000}" for _ in range(12)) + "\n" for _ in range(2000)]
    with path.open("w") as file:
        written = 0
        while written < megabytes * 1_000_000:
            written += file.write("".join(draw.sample(lines, len(lines))))
    return path


def prepare(path, unit):
    corpus = build_corpus(Data(corpus=str(path), unit=unit))
    return len(corpus.splits["train"].tokens)


@needs_memory_figures
@pytest.mark.parametrize("unit", ["word", "byte"])
def test_preparing_a_text_ten_times_as_large_takes_no_more_memory(unit, tmp_path, monkeypatch, trials, report):
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "cache"))
    large = trials(10, 1000)
    grown, tokens = {}, {}
    for size in (large // 10, large):
        path = write_text(tmp_path / "text.txt", size)
        grown[size], tokens[size] = in_a_process(tmp_path / "figure", prepare, path, unit)
        path.unlink()
    assert tokens[large] > 9 * tokens[large // 10]
    difference = grown[large] - grown[large // 10]
    assert difference <= MOST_GROWTH
    figure = f"{difference / MEGABYTE:+.1f} MB of peak memory from {large // 10:,} to {large:,} MB"
    report("bounded memory", f"preparing text as {unit}s: {figure}")


def prepare_capped(path):
    return len(build_corpus(Data(corpus=str(path), max_words=1000)).vocabulary)


@needs_memory_figures
def test_a_capped_vocabulary_of_many_distinct_words(tmp_path, monkeypatch, trials, report):
    """They are counted exactly, which takes memory for each of those that a table holds, and no more than that."""
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "cache"))
    distinct = trials(100_000, 5_000_000)
    path = tmp_path / "text.txt"
    with path.open("w") as file:
        for start in range(0, distinct, 10):
            file.write(" ".join(f"w{number:x}" for number in range(start, start + 10)) + "\n")
    grown, size = in_a_process(tmp_path / "figure", prepare_capped, path)
    assert size == 1000
    assert grown <= MOST_GROWTH + 400 * min(distinct, TABLE_WORDS)
    report("bounded memory", f"{distinct:,} distinct words, 1,000 kept: {grown / distinct:.0f} bytes each")


def read_windows(path):
    windows = Windows(TokenFile(path, np.uint16), batch_size=256, window_steps=512)
    return sum(len(windows[index][0]) for index in range(800))


@needs_memory_figures
@pytest.mark.skipif(sys.platform != "linux", reason="files elsewhere may not have holes")
def test_ids_that_are_read_take_little_memory(tmp_path):
    """210 MB of a token file of 4 GB are read, of which at most 34 MB are kept at a time."""
    with (tmp_path / "ids").open("wb") as file:
        file.truncate(4_000_000_000)
    grown, steps = in_a_process(tmp_path / "figure", read_windows, tmp_path / "ids")
    assert steps == 800 * 512
    assert grown <= 34_000_000 + 2 * MOST_GROWTH


class Recording(PlainProgress):
    """Keeps the memory of the process after each step."""

    def __init__(self):
        super().__init__(quiet=True)
        self.memory = []

    def window(self, position, windows, epochs):
        self.memory.append(resident())


def train_long(corpus, folder, words):
    progress = Recording()
    before = len(os.listdir(DESCRIPTORS)), threading.active_count()
    runs.train(recipe("zaremba-small", *words, data=str(corpus)), folder, progress=progress)
    after = len(os.listdir(DESCRIPTORS)), threading.active_count()
    return progress.memory, before, after


@needs_memory_figures
def test_memory_of_a_long_run_does_not_grow(tmp_path, tiny_corpus, tiny_settings, trials, report):
    epochs = trials(30, 125)
    words = [*tiny_settings, f"training.epochs={epochs}"]
    _, (memory, before, after) = in_a_process(tmp_path / "figure", train_long, tiny_corpus, tmp_path / "run", words)
    assert len(memory) >= 30 * epochs
    # the second half of the run; what kernels and allocators keep is there by then
    slope = memory[-1] - memory[len(memory) // 2]
    assert slope <= MEGABYTE
    assert before == after
    report("bounded memory", f"{len(memory):,} steps: {slope / MEGABYTE:+.2f} MB in the second half, nothing left open")


def score_one_line(run, length):
    lm = runs.load(run)
    (found,) = score_lines(lm.model, lm.vocabulary, ["ant bee " * (length // 8)])
    return found.figure.tokens


@needs_memory_figures
def test_memory_of_scoring_a_line_hardly_grows_with_the_line(tmp_path, byte_run, trials, report):
    grown = {}
    long = trials(200_000, 2_000_000)
    for length in (long // 4, long):
        grown[length], tokens = in_a_process(tmp_path / "figure", score_one_line, byte_run, length)
        assert tokens == length + 1
    difference = grown[long] - grown[long // 4]
    # the line itself, and its ids: 8 bytes in a list, 8 as inputs and 8 as targets
    assert difference <= MOST_GROWTH + 60 * long
    figure = f"{difference / MEGABYTE:+.1f} MB of peak memory from {long // 4:,} to {long:,} bytes"
    report("bounded memory", f"scoring one line: {figure}")
