"""Tests in several processes of one machine."""

import contextlib
import datetime
import os
import socket

import torch
import torch.distributed as dist


@contextlib.contextmanager
def joined(rank, folder, ranks):
    """One of `ranks` processes that meet in a folder, with a thread of its own."""
    torch.set_num_threads(1)
    if "lo" in [name for _, name in socket.if_nameindex()]:
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    meeting, patience = f"file://{folder}/rendezvous", datetime.timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=ranks, timeout=patience)
    yield
    dist.destroy_process_group()
