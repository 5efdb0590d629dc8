"""Noticing that a rank is lost: one that has died, has failed, hangs or lags is named, and the others leave.

Each rank reports its position every second, from a thread of its own, so that one that waits for another does not seem
to hang. Rank 0 judges the others, and they judge rank 0. What one finds reaches all ranks through the store of
`torch.distributed`, and a rank whose main thread waits within torch is ended. The store may be in a process that is
stopped, so a second thread notices when it does not answer.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from refrain.errors import LostRankError
from refrain.storage.plain_text import log_line

SECOND = 1.0
SILENT, SILENT_WHEN_BROKEN = 12.0, 4.0
"""Seconds without a sign after which a rank is lost, and the same once messages no longer arrive."""
LAG, LAG_AT_FIRST, LAG_FACTOR = 20.0, 300.0, 10.0
"""Seconds that a rank may compute while others wait: at least, in its first window, and relative to the longest."""
REMEDY = "the other ranks leave; what was saved is whole, and --resume goes on from the last checkpoint"
FROZEN = 4.0
"""Seconds by which a pause of this process is longer than asked for if the process itself was stopped, as when a batch
system suspends a job. The silence of other ranks in that time does not count."""
PATIENCE = 25.0
"""Seconds that a rank waits until it is known which one is lost."""


class Watch:
    """Reports the position of this rank, and notices other ranks that are lost.

    Args:
        store: a store of `torch.distributed` that all ranks share and that nothing else in this process uses.
        prefix: of the keys in the store.
        rank: the number of this process.
        size: the number of processes.
    """

    def __init__(self, store: Any, prefix: str, rank: int, size: int) -> None:
        self.rank = rank
        self.size = size
        self._store = store
        self._prefix = prefix
        self._host = socket.gethostname()
        self._step = 0
        self._phase = "start"
        self._waiting = False
        self._since = time.monotonic()
        self._longest = 0.0
        self._windows = 0
        self._broken = False
        self._count = 0
        self._last: dict[str, Any] = {}
        self._seen: dict[int, tuple[int, float, dict[str, Any]]] = {}
        self._verdict: tuple[int, str, int] | None = None
        self._decided = threading.Event()
        self._ended = threading.Event()
        self._parent = os.getppid()
        self._lock, self._deciding = threading.Lock(), threading.Lock()
        self._heard = time.monotonic()
        self._threads = [
            threading.Thread(target=target, name=f"refrain-{name}", daemon=True)
            for name, target in (("watch", self._run), ("guard", self._guard))
        ]

    def begin(self) -> None:
        """Begin to watch."""
        self._tell()
        self._heard = time.monotonic()
        for thread in self._threads:
            thread.start()

    def end(self, failure: str | None = None, status: int = 0) -> None:
        """Tell the others that this rank leaves.

        Args:
            failure: why it fails; None if it has finished.
            status: its exit status.
        """
        self._last = {"left": failure is None, "failed": failure, "status": status}
        self._ended.set()
        with contextlib.suppress(RuntimeError):
            self._tell()

    def end_silently(self) -> None:
        """Give no more signs: this rank leaves because another one is lost."""
        self._ended.set()

    def at(self, step: int, phase: str) -> None:
        """Note the position of this rank.

        Args:
            step: the number of finished windows.
            phase: what it does: `train` has a time limit.
        """
        self._step, self._phase, self._since = step, phase, time.monotonic()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """A context in which this rank waits for others."""
        spent = time.monotonic() - self._since
        if self._phase == "train":
            self._windows += 1
            self._longest = max(self._longest, spent)
        before, self._waiting = self._waiting, True
        try:
            yield
        finally:
            self._waiting = before
            self._since = time.monotonic()

    def is_lost(self) -> bool:
        """Whether some rank is lost."""
        return self._decided.is_set()

    def lost(self, error: RuntimeError) -> BaseException:
        """Find out which rank does not answer, and return the exception that ends this one.

        Args:
            error: the error of torch.
        """
        self._broken = True
        if not self._decided.wait(PATIENCE):
            text = " ".join(str(error).split())
            self._verdict = (-1, f"another rank does not answer: {text}", LostRankError.exit_status)
        assert self._verdict is not None
        culprit, text, status = self._verdict
        if not self._prints(culprit):
            return SystemExit(status)
        found = LostRankError(text)
        found.exit_status = status
        return found

    def _run(self) -> None:
        last = time.monotonic()
        while not self._ended.wait(SECOND):
            if os.getppid() != self._parent:
                # the process that started this one is gone
                os._exit(LostRankError.exit_status)
            try:
                last = self._forgive(last)
                self._tell()
                last = self._forgive(last)
                self._judge()
                self._heard = time.monotonic()
            except RuntimeError:
                if self._decided.is_set() or self._ended.is_set():
                    return
                self._decide(0, f"rank 0 ({self._where(0)}) has given no answer: it was killed; {REMEDY}", tell=False)

    def _forgive(self, last: float) -> float:
        """Forget how long others were silent and this rank has computed, if the process itself was stopped."""
        now = time.monotonic()
        if now - last > SECOND + FROZEN:
            self._seen, self._since = {}, now
        return now

    def _guard(self) -> None:
        """End this process when a rank is lost, unless its main thread does so."""
        last = time.monotonic()
        while not self._ended.wait(SECOND / 2):
            now = time.monotonic()
            if now - last > SECOND + FROZEN:
                self._heard = now
            last = now
            if now - self._heard > SILENT:
                lost = f"has given no answer for {SILENT:.0f} s: it is stopped, or its machine is"
                self._decide(0, f"rank 0 ({self._where(0)}) {lost}; {REMEDY}", tell=False)
            if self._decided.is_set():
                self._leave()

    def _tell(self) -> None:
        with self._lock:
            self._count += 1
            busy = 0.0 if self._waiting or self._phase != "train" else time.monotonic() - self._since
            limit = LAG_AT_FIRST if not self._windows else max(LAG, LAG_FACTOR * self._longest)
            sign = {
                "count": self._count,
                "host": self._host,
                "step": self._step,
                "busy": busy,
                "limit": limit,
                "waiting": self._waiting,
                "broken": self._broken,
                **self._last,
            }
            self._store.set(f"{self._prefix}sign/{self.rank}", json.dumps(sign))

    def _judge(self) -> None:
        key = f"{self._prefix}verdict"
        if self._store.check([key]):
            rank, text, status = json.loads(self._store.get(key))
            self._decide(rank, text, status, tell=False)
            return
        judged = range(1, self.size) if not self.rank else [0]
        broken = self._broken or any(sign.get("broken") for _, _, sign in self._seen.values())
        for rank in judged:
            sign, age = self._sign(rank)
            if sign is None or sign.get("left"):
                continue
            where = f"rank {rank} ({self._where(rank)}, step {sign['step']:,})"
            if sign.get("failed"):
                self._decide(rank, f"{where}: {sign['failed']}", sign["status"])
            elif age > (SILENT_WHEN_BROKEN if broken else SILENT):
                lost = f"has given no sign for {age:.0f} s: it was killed, or it is stopped"
                self._decide(rank, f"{where} {lost}; {REMEDY}")
            elif sign["busy"] > max(sign["limit"], LAG_FACTOR * self._longest) and self._waiting:
                lost = f"lags: its window has taken {sign['busy']:.0f} s, while other ranks wait for it"
                self._decide(rank, f"{where} {lost}; {REMEDY}")

    def _sign(self, rank: int) -> tuple[dict[str, Any] | None, float]:
        """The last sign of a rank, and how old it is by the clock of this one."""
        key = f"{self._prefix}sign/{rank}"
        if not self._store.check([key]):
            return None, 0.0
        sign = json.loads(self._store.get(key))
        now = time.monotonic()
        if rank not in self._seen or self._seen[rank][0] != sign["count"]:
            self._seen[rank] = (sign["count"], now, sign)
        return sign, now - self._seen[rank][1]

    def _where(self, rank: int) -> str:
        seen = self._seen
        return str(seen[rank][2]["host"]) if rank in seen else "unknown host"

    def _decide(self, rank: int, text: str, status: int = LostRankError.exit_status, tell: bool = True) -> None:
        with self._deciding:
            if self._verdict is not None:
                return
            if tell:
                # the first verdict counts
                first = self._store.compare_set(f"{self._prefix}verdict", "", json.dumps([rank, text, status]))
                rank, text, status = json.loads(first)
            self._verdict = (rank, text, status)
            self._decided.set()

    def _prints(self, culprit: int) -> bool:
        """Whether this rank prints the message. Rank 0 has printed its own error if it failed by itself."""
        if culprit:
            return not self.rank
        seen = self._seen
        failed = 0 in seen and seen[0][2].get("failed")
        return self.rank == 1 and not failed

    def _leave(self) -> None:
        """End this process, unless its main thread does so."""
        assert self._verdict is not None
        if self._ended.wait(3 * SECOND):
            return
        culprit, text, status = self._verdict
        if self._prints(culprit):
            log_line(f"refrain: {text}")
        sys.stderr.flush()
        os._exit(status)
