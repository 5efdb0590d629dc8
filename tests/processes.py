"""Processes that tests start: each has a deadline, and none outlives its test."""

import contextlib
import datetime
import faulthandler
import gc
import io
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

# far more than any of these takes; reached only when something hangs
PATIENCE = 120
# the heavy imports are made once, in the process that the others are forked from
PRELOADED = ["pytest", "torch.distributed", "refrain.runs", "refrain.cli.app"]


def forking():
    """What makes processes that have not to import everything anew."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


@contextlib.contextmanager
def started(target, *arguments):
    """A process that runs `target(*arguments)`; it is killed when the body ends before it."""
    process = forking().Process(target=target, args=arguments)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def status_of(target, *arguments):
    """Run `target(*arguments)` in a process; its exit code."""
    with started(target, *arguments) as process:
        process.join(PATIENCE)
        assert process.exitcode is not None, f"{target.__name__} has not ended after {PATIENCE} s"
        return process.exitcode


CLOSED, LEFT = "closed", "left"
"""A standard stream that is closed, and one whose reader has left."""


def command_status(words, **streams):
    """Run `refrain WORDS` in a process; its exit code. See `command_process` for the streams."""
    with command_process(words, **streams) as process:
        process.join(PATIENCE)
        assert process.exitcode is not None, f"refrain {words} has not ended after {PATIENCE} s"
        return process.exitcode


def command_process(words, *, stdin=os.devnull, stdout=os.devnull, stderr=os.devnull, encoding="utf-8"):
    """A process that runs `refrain WORDS`, with everything imported already.

    Each stream is CLOSED, LEFT, a path, or the end of a `multiprocessing.Pipe`. They have the encoding that Python
    would have given them.
    """
    return started(_command, [str(word) for word in words], (stdin, stdout, stderr), encoding)


def _command(words, places, encoding):
    from refrain.cli import run

    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    for handle, place in enumerate(places):
        _put(place, handle)
    sys.stdin = sys.__stdin__ = _opened(0, "r", encoding)
    sys.stdout = sys.__stdout__ = _opened(1, "w", encoding)
    sys.stderr = sys.__stderr__ = _opened(2, "w", encoding)
    run(words)


def _put(place, handle):
    """Make a place the standard stream with a given number."""
    if place == CLOSED:
        os.close(handle)
        return
    if place == LEFT:
        reader, source = os.pipe()
        os.close(reader)
    elif isinstance(place, str | os.PathLike):
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND if handle else os.O_RDONLY
        source = os.open(place, flags | os.O_NOCTTY)
    else:
        source = place.fileno()
    if source != handle:
        os.dup2(source, handle)
        os.close(source)
        if not isinstance(place, str | os.PathLike):
            place._handle = None


def _opened(handle, mode, encoding):
    try:
        os.fstat(handle)
    except OSError:
        return None
    buffer = open(handle, f"{mode}b", closefd=False)  # noqa: SIM115
    return io.TextIOWrapper(buffer, encoding=encoding, errors="backslashreplace" if handle == 2 else "strict")


class Command(subprocess.Popen):
    """A command that is killed, and not waited for, when the body of its `with` fails."""

    def __exit__(self, failure, *more):
        if failure is not None:
            self.kill()
        super().__exit__(failure, *more)


@contextlib.contextmanager
def program(words):
    """A program of the system without streams; it is ended when the body of the `with` ends."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(words, **streams)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def conversation(words):
    """A program of the system with which the body talks through its `stdin` and `stdout`; it is killed in the end."""
    process = subprocess.Popen([str(word) for word in words], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def run_ranks(work, ranks, *arguments):
    """Call `work(rank, *arguments)` in as many processes, and raise what one of them raised.

    When time is up, or one has failed, the others are killed.
    """
    forking()
    context = mp.start_processes(work, arguments, nprocs=ranks, join=False, start_method="forkserver")
    end = time.monotonic() + PATIENCE
    try:
        while not context.join(timeout=1):
            if time.monotonic() > end:
                pytest.fail(f"{ranks} processes of {work.__name__} have not ended after {PATIENCE} s")
    finally:
        for process in context.processes:
            process.kill()
            process.join()


@contextlib.contextmanager
def joined(rank, folder, ranks):
    """One of `ranks` processes that meet in a folder, with a thread of its own.

    What uses the process group, as a `DistributedDataParallel` does, has to be out of scope when the body ends: gloo
    waits for its threads when such an object goes, and would wait for ever once the group is gone.
    """
    # a process that hangs where no Python code runs any more says where, and ends itself before its parent kills it
    faulthandler.dump_traceback_later(PATIENCE - 20, exit=True)
    torch.set_num_threads(1)
    if "lo" in [name for _, name in socket.if_nameindex()]:
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    meeting, patience = f"file://{folder}/rendezvous", datetime.timedelta(seconds=PATIENCE / 2)
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=ranks, timeout=patience)
    yield
    gc.collect()
    dist.destroy_process_group()
    faulthandler.cancel_dump_traceback_later()


def rank_environment(rank=0, size=1, port=0, **more):
    """The environment variables of a rank, as torchrun sets them; those of a process alone for a size of 1."""
    found = dict(os.environ, OMP_NUM_THREADS="1", GLOO_SOCKET_IFNAME="lo", TORCH_CPP_LOG_LEVEL="ERROR", **more)
    if size > 1:
        found |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_PORT": str(port)}
        found |= {"MASTER_ADDR": "127.0.0.1"}
    return found


@contextlib.contextmanager
def command_ranks(size, words, *, own=(), folders=()):
    """The ranks of `python WORDS`, as commands; they are killed when the body ends before them.

    `own` has further words for each rank, and `folders` its working directory.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = [*own, *[()] * (size - len(own))]
    folders = [*folders, *[None] * (size - len(folders))]
    ranks = []
    try:
        for rank in range(size):
            every = [sys.executable, *map(str, words), *map(str, own[rank])]
            given = rank_environment(rank, size, port)
            streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            ranks.append(Command(every, env=given, cwd=folders[rank], **streams))
        yield ranks
    finally:
        for process in ranks:
            process.kill()
            process.communicate()


def ended_ranks(size, words, **more):
    """Run the ranks of `python WORDS` to their end: (status, standard output, standard error) of each."""
    with command_ranks(size, words, **more) as ranks:
        found = [process.communicate(timeout=2 * PATIENCE) for process in ranks]
        return [(process.returncode, *said) for process, said in zip(ranks, found, strict=True)]
