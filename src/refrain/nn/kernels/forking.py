"""Restricts forked processes to one thread, because the threads of OpenMP do not survive a fork."""

import functools
import os

import torch


@functools.cache
def one_thread_after_fork() -> None:
    """From now on, let a process that is forked from this one compute on one thread.

    The threads of OpenMP, with which torch and the kernels compute, do not exist in it, and GNU's OpenMP waits for them
    for ever. torch's DataLoader does the same in its workers. Systems without a fork need nothing.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))
