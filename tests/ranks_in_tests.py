"""Starts a script as one process or as several ranks."""

import os
import socket
import subprocess
import sys


def environment(rank=0, size=1, port=0, **more):
    """The environment variables of a rank, as torchrun sets them; those of a process alone for a size of 1."""
    found = dict(os.environ, OMP_NUM_THREADS="1", GLOO_SOCKET_IFNAME="lo", TORCH_CPP_LOG_LEVEL="ERROR", **more)
    if size > 1:
        found |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_PORT": str(port)}
        found |= {"MASTER_ADDR": "127.0.0.1"}
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(size, *words, **more):
    """Start the ranks of `python WORDS`; the caller waits for them."""
    port = free_port()
    return [
        subprocess.Popen(
            [sys.executable, *map(str, words)],
            env=environment(rank, size, port, **more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]


def finish(processes, timeout=300):
    """Wait for ranks: (status, standard output, standard error) of each. Those that hang are killed."""
    try:
        found = []
        for process in processes:
            out, err = process.communicate(timeout=timeout)
            found.append((process.returncode, out, err))
        return found
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.communicate()
