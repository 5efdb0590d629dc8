"""The model thread: it computes what all requests wait for, in batches."""

import asyncio
import contextlib
import functools
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import torch

from refrain.errors import UserError
from refrain.storage.plain_text import log_line

from .batches import compute_longer, compute_steps, compute_windows, gathered
from .inbox import Inbox
from .jobs import Event, Job
from .limits import Limits
from .refused import Refused, refused_by, stopping, too_slow
from .served import ServedModel
from .work import Emit, Program, Steps, Window

GRACE_SECONDS = 5.0
"""How long a request waits after its deadline for a model thread that is in the middle of a step."""
LOOK_SECONDS = 0.5
"""How often the event loop looks for such requests. A timer for each request would take longer than to read it."""


class Engine:
    """Runs programs on one thread, and gathers their steps in batches.

    A batch has what waits when the batch before it is done; nothing waits for a batch to become full.

    Args:
        limits: the limits of the server.

    Attributes:
        steps: the number of batches of steps so far.
        sequences: the number of sequences in them.
        unfinished: the number of programs in work; read and changed on the event loop alone.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._inbox = Inbox()
        self._active: list[Job] = []
        self._outbox: list[tuple[Job, Event]] = []
        # what somebody waits for; used on the event loop alone
        self._waited: set[Job] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closing = False
        self.steps = self.sequences = self.unfinished = 0

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the thread.

        Args:
            loop: the event loop that gets the results.
        """
        self._loop = loop
        self._closing = False
        loop.call_later(LOOK_SECONDS, self._look)
        threads = torch.get_num_threads()
        self._thread = threading.Thread(target=self._work, args=[threads], name="model", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Refuse what is in work, and end the thread after its current batch. It is called on the event loop."""
        # once the thread sees that it has to end, it takes programs a last time: all of them have to be there by then
        self._inbox.hand_over()
        self._closing = True
        # wakes the thread if it waits for programs
        self._inbox.hand_over()

    def join(self) -> None:
        """Wait for the thread after `stop`, for as long as a batch may take.

        A thread that still computes in C++ when the interpreter ends would abort the process.
        """
        if self._thread is not None:
            self._thread.join(GRACE_SECONDS)

    async def run(self, program: Program, deadline: float) -> Any:
        """Run a program, and return its result.

        Args:
            program: the program; what it emits is dropped.
            deadline: see `Job`.

        Raises:
            Refused: when it fails, takes too long, or too many programs are in work.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def deliver(event: Event) -> None:
            if future.done():
                return
            if event.error is not None:
                future.set_exception(event.error)
            elif event.ended:
                future.set_result(event.value)

        job = self._submit(Job(program, deadline, deliver))
        try:
            return await future
        finally:
            self._leave(job)

    async def stream(self, program: Program, deadline: float, *, admitted: bool = False) -> AsyncIterator[Event]:
        """Run a program, and yield each value that it emits, and at the end its result.

        Args:
            program: the program.
            deadline: see `Job`.
            admitted: whether it belongs to a request for which there was room.

        Raises:
            Refused: when it fails, takes too long, or too many programs are in work.
        """
        events: asyncio.Queue[Event] = asyncio.Queue()
        job = self._submit(Job(program, deadline, events.put_nowait), admitted=admitted)
        try:
            while True:
                event = await events.get()
                if event.error is not None:
                    raise event.error
                yield event
                if event.ended:
                    return
        finally:
            self._leave(job)

    def _leave(self, job: Job) -> None:
        """Nobody waits for a program any more."""
        job.cancelled = True
        self._waited.discard(job)

    def _look(self) -> None:
        """End the wait for what is late: normally the model thread keeps the deadlines itself."""
        late = time.monotonic() - GRACE_SECONDS
        for job in [each for each in self._waited if each.deadline < late]:
            self._waited.discard(job)
            job.deliver(Event(ended=True, error=too_slow(self._limits)))
        if self._loop is not None and (self._waited or not self._closing):
            self._loop.call_later(LOOK_SECONDS, self._look)

    def check_thread(self) -> None:
        """Check that the model thread computes, once it was started.

        Raises:
            Refused: when it has ended by an error.
        """
        if self._thread is not None and not self._closing and not self._thread.is_alive():
            raise Refused(503, "the thread that computes has ended; start the server again", code="failed")

    def check_room(self, waiting: int = 0) -> None:
        """Check that another program may be run.

        Args:
            waiting: the number of requests that wait for something else.

        Raises:
            Refused: when too many are in work.
        """
        count = self.unfinished + waiting
        if count >= self._limits.waiting:
            raise Refused(
                429,
                f"{count:,} requests are in work, which is the limit; try again in a second, or raise --max-waiting",
                headers={"Retry-After": "1"},
            )

    def _submit(self, job: Job, *, admitted: bool = False) -> Job:
        if self._closing:
            raise stopping()
        self.check_thread()
        if not admitted:
            self.check_room()
        self.unfinished += 1
        self._waited.add(job)
        self._inbox.add(job)
        return job

    def _work(self, threads: int) -> None:
        # the number of threads belongs to the thread that computes
        torch.set_num_threads(threads)
        while not self._closing:
            self._take(wait=not self._active)
            self._round()
        self._take(wait=False)
        for job in self._active:
            self._fail(job, stopping())
        self._active = []
        self._flush()

    def _take(self, *, wait: bool) -> None:
        """Start the programs that have come."""
        for job in self._inbox.take(wait=wait):
            self._advance(job, None)

    def _advance(self, job: Job, result: Any) -> None:
        """Continue a program with the result of the part that it has waited for, up to the next part."""
        try:
            requested = job.program.send(result)
            while isinstance(requested, Emit):
                self._outbox.append((job, Event(requested.value)))
                requested = job.program.send(None)
        except StopIteration as ended:
            self._outbox.append((job, Event(ended.value, ended=True)))
        except Exception as error:
            self._fail(job, error)
        else:
            job.requested = requested
            self._active.append(job)

    def _fail(self, job: Job, error: Exception) -> None:
        if not isinstance(error, UserError | ValueError | FloatingPointError):
            log_line(f"refrain: a request failed: {' '.join(traceback.format_exception(error))}")
        job.program.close()
        self._outbox.append((job, Event(ended=True, error=refused_by(error))))

    def _flush(self) -> None:
        """Deliver all events of a round in one call, which wakes the event loop once."""
        if self._outbox and self._loop is not None:
            events, self._outbox = self._outbox, []
            # the loop may have been closed
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._deliver, events)

    def _deliver(self, events: list[tuple[Job, Event]]) -> None:
        for job, event in events:
            if event.ended:
                self.unfinished -= 1
                self._waited.discard(job)
            job.deliver(event)

    def _round(self, *, nested: bool = False) -> None:
        """Compute a batch of steps and one of windows for each model and, unless nested, one longer part."""
        jobs, self._active = self._active, []
        now = time.monotonic()
        short: dict[tuple[type, ServedModel], list[Job]] = {}
        long: list[Job] = []
        for job in jobs:
            requested = job.requested
            if job.cancelled or now > job.deadline:
                self._fail(job, too_slow(self._limits))
            elif isinstance(requested, Steps | Window):
                short.setdefault((type(requested), requested.model), []).append(job)
            else:
                long.append(job)
        for (kind, model), waiting in short.items():
            self._together(waiting, functools.partial(self._steps if kind is Steps else compute_windows, model))
        if nested or not long:
            self._active += long
        else:
            some, rest = gathered(long)
            self._active += rest
            self._together(some, self._longer)
        self._flush()

    def _together(self, jobs: list[Job], compute: Callable[[list[Job]], list[Any]]) -> None:
        """Compute the parts of several programs, and continue each with its result."""
        try:
            results = compute(jobs)
        except Exception as error:
            for job in jobs:
                self._fail(job, error)
            return
        for job, result in zip(jobs, results, strict=False):
            self._advance(job, result)
        # those for which there was no room come first in the next batch
        self._active[:0] = jobs[len(results) :]

    def _longer(self, jobs: list[Job]) -> list[Any]:
        """A part that takes long; other programs have their turn between its steps."""

        def between() -> None:
            now = time.monotonic()
            if self._closing:
                raise stopping()
            if all(job.cancelled or now > job.deadline for job in jobs):
                raise too_slow(self._limits)
            self._take(wait=False)
            self._round(nested=True)

        return compute_longer(jobs, between)

    def _steps(self, model: ServedModel, jobs: list[Job]) -> list[Any]:
        results = compute_steps(model, jobs)
        self.steps += 1
        self.sequences += sum(len(cast(Steps, job.requested).steps) for job in jobs[: len(results)])
        return results
