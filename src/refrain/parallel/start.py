"""Joining the group of ranks that `torchrun`, or `refrain train --processes`, has started."""

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch

from refrain.errors import LostRankError, UserError
from refrain.storage.plain_text import log_line

from .environment import are_started
from .ranks import ALONE, Ranks

JOIN_TIMEOUT = timedelta(minutes=5)
# what hangs is noticed by `watch`; a rank may wait for hours while another one measures a text
COLLECTIVE_TIMEOUT = timedelta(days=7)

_present: Ranks | None = None


def present() -> Ranks:
    """Return the ranks that this process has joined; `ALONE` outside `joined`."""
    return _present or ALONE


@contextlib.contextmanager
def joined() -> Iterator[Ranks]:
    """Join the other ranks, and leave them at the end. A process alone has none.

    Rank 0 alone reports errors: in other ranks, an exception becomes an exit status.

    Yields:
        The ranks, which inside another such context are the same.

    Raises:
        UserError: when the ranks cannot be joined.
    """
    global _present
    if _present is not None or not are_started():
        yield _present or ALONE
        return
    from .group import Group

    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    watch = _watch(rank, size)
    try:
        _present = Group(watch)
        yield _present
    except BaseException as error:
        status = _status(error)
        _leave(watch, error, status)
        if rank == 0:
            raise
        if isinstance(error, LostRankError):
            # rank 0 is lost, and this rank reports it
            log_line(f"refrain: {error}")
        raise SystemExit(status) from None
    else:
        # rank 0 may hold the store, so it is the last to leave
        with contextlib.suppress(LostRankError, SystemExit):
            _present.wait()
        watch.end()
    finally:
        _present = None
        with contextlib.suppress(RuntimeError, AssertionError):
            torch.distributed.destroy_process_group()


def _leave(watch: Any, error: BaseException, status: int) -> None:
    """Say why this rank leaves, unless others know it already."""
    if hasattr(error, "signal_number"):
        # all ranks have stopped in order
        watch.end()
    elif isinstance(error, LostRankError) or (isinstance(error, SystemExit) and status == LostRankError.exit_status):
        watch.end_silently()
    else:
        watch.end("was stopped by a signal" if status in (130, 143) else _text(error), status)


def _watch(rank: int, size: int) -> Any:
    import torch.distributed as dist
    from torch.distributed.rendezvous import rendezvous

    from .watch import Watch

    host, port = os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", "")
    if torch.cuda.is_available():
        # more ranks than GPUs may train on the processors
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    try:
        store, _, _ = next(rendezvous("env://", timeout=JOIN_TIMEOUT))
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=COLLECTIVE_TIMEOUT)
        # a connection of its own, since the other one may be waiting
        watched = dist.TCPStore(  # type: ignore[attr-defined]
            host, int(port), is_master=False, wait_for_workers=False, timeout=timedelta(seconds=30)
        )
    except (RuntimeError, ValueError) as error:
        raise _not_joined(host, port, str(error)) from None
    watch = Watch(watched, f"refrain/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/", rank, size)
    watch.begin()
    return watch


def _not_joined(host: str, port: str, text: str) -> UserError:
    if "EADDRINUSE" in text or "in use" in text:
        return UserError(f"port {port}: is in use by another program on this machine; choose another --master-port")
    if not host or not port:
        return UserError("RANK and WORLD_SIZE are set, but MASTER_ADDR and MASTER_PORT are not; start with torchrun")
    cause = " ".join(text.split())[:300]
    return UserError(
        f"the ranks at {host}:{port} could not be joined ({cause}); check that all of them were started and can reach "
        "that address"
    )


def _status(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return int(getattr(error, "exit_status", 1))


def _text(error: BaseException) -> str:
    first = str(error).strip().splitlines() or [""]
    return first[0] if isinstance(error, UserError) else f"{type(error).__name__}: {first[0]}"
