"""The programs on their way from the event loop to the model thread."""

import asyncio
import contextlib
import queue
from collections.abc import Iterator

from .jobs import Job


class Inbox:
    """Programs that come on the event loop, and are taken by the model thread.

    They are handed over together, once a turn of the event loop brings no more. The threads share Python's lock: while
    the event loop reads the requests of many clients, the model thread would wait for the lock before each of its
    operations, and both would wait for longer than they work.
    """

    def __init__(self) -> None:
        # what the model thread does not have yet; the event loop's alone
        self._coming: list[Job] = []
        self._queue: queue.SimpleQueue[list[Job]] = queue.SimpleQueue()

    def add(self, job: Job) -> None:
        """Hand a program over soon. It is called on the event loop."""
        self._coming.append(job)
        if len(self._coming) == 1:
            asyncio.get_running_loop().call_soon(self._gather, 0)

    def _gather(self, count: int) -> None:
        """Wait for another turn of the event loop if more than `count` programs have come."""
        if len(self._coming) > count:
            asyncio.get_running_loop().call_soon(self._gather, len(self._coming))
        else:
            self.hand_over()

    def hand_over(self) -> None:
        """Hand over what has come, and wake the model thread. It is called on the event loop."""
        coming, self._coming = self._coming, []
        self._queue.put(coming)

    def take(self, *, wait: bool) -> Iterator[Job]:
        """What was handed over, on the model thread.

        Args:
            wait: whether to wait for something if there is nothing.
        """
        with contextlib.suppress(queue.Empty):
            yield from self._queue.get(block=wait)
            while True:
                yield from self._queue.get_nowait()
