"""Processes that tests start: each has a deadline, and none outlives its test."""

import contextlib
import datetime
import faulthandler
import gc
import multiprocessing
import os
import socket
import subprocess
import time

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

# far more than any of these takes; reached only when something hangs
PATIENCE = 120
# the heavy imports are made once, in the process that the others are forked from
PRELOADED = ["pytest", "torch.distributed", "refrain.runs"]


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


class Command(subprocess.Popen):
    """A command that is killed, and not waited for, when the body of its `with` fails."""

    def __exit__(self, failure, *more):
        if failure is not None:
            self.kill()
        super().__exit__(failure, *more)


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
