"""The operations over standard input and output: a JSON object on each line, for programs without HTTP.

A line of input is `{"id": 1, "operation": "next", "request": {"text": "the"}}`, with `session` beside `request` where
the operation needs one. A line of output has the same `id` with `result` or `error`; a stream has a line with `event`
for each token before it. Lines are answered as they are ready, so that `id` tells to which line an answer belongs.
Lines of one session are answered in order.
"""

import asyncio
import contextlib
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, Protocol

from pydantic import Field, JsonValue, ValidationError

from refrain._signals import signal_main_thread
from refrain.errors import DataError, nearest, shown
from refrain.storage.plain_json import dumps, loads
from refrain.storage.plain_text import log_line

from .engine import GRACE_SECONDS
from .fields import Message, read_message, too_large
from .operations import OPERATIONS
from .refused import Refused, refused_by
from .service import Asked, Service, Stream
from .sessions import BY_LINES

AT_ONCE = 256
"""Lines that are answered at a time; more are read when some have been."""


class Envelope(Message):
    """A line of input."""

    id: str | int | float | None = None
    operation: str
    session: str = ""
    request: Annotated[dict[str, JsonValue], Field(default_factory=dict)]


class Source(Protocol):
    """Standard input, as bytes."""

    def readline(self, size: int = -1, /) -> bytes:
        """The next line, or its first bytes; nothing at the end."""
        ...


def lines_of(source: Source, most: int) -> Iterable[bytes | int]:
    """Yield the lines of standard input that are not blank; of one that is too long, its size.

    Args:
        source: standard input.
        most: the largest number of bytes of a line.
    """
    while line := source.readline(most + 1):
        size = len(line)
        if size <= most or line.endswith(b"\n"):
            if line.strip():
                yield line
            continue
        while line and not line.endswith(b"\n"):
            line = source.readline(1 << 16)
            size += len(line)
        yield size


async def serve_lines(service: Service, source: Source, write: Callable[[str], None]) -> None:
    """Answer the lines of standard input until it ends or a signal comes, and what is in work then.

    What is not done `stop_seconds` after a signal, or when a second one comes, is refused. Signals are those of the
    main thread.

    Args:
        service: what answers.
        source: standard input.
        write: writes a line to standard output.

    Raises:
        DataError: when standard input cannot be read; what is in work is answered first.
        KeyboardInterrupt: after SIGINT.
        SystemExit: after SIGTERM, with status 143.
    """
    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[bytes | int | None] = asyncio.Queue()
    room = threading.Semaphore(AT_ONCE)

    def hand_over(line: bytes | int | None) -> bool:
        try:
            loop.call_soon_threadsafe(waiting.put_nowait, line)
        except RuntimeError:
            # the loop is closed once an answer could not be written, as to a full disk
            return False
        return True

    def read() -> None:
        try:
            for line in lines_of(source, service.limits.body_bytes):
                room.acquire()
                if not hand_over(line):
                    return
        except OSError as error:
            unreadable.append(_unreadable(error))
        finally:
            hand_over(None)

    def done(task: asyncio.Task[None]) -> None:
        tasks.discard(task)
        room.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            failure.append(error)
            waiting.put_nowait(None)

    def stop(number: int) -> None:
        signals.append(number)
        service.stopping = True
        loop.call_later(service.limits.stop_seconds, service.stop)
        waiting.put_nowait(None)

    signals: list[int] = []
    unreadable: list[DataError] = []
    service.sessions.words = BY_LINES
    service.start()
    threading.Thread(target=read, name="standard input", daemon=True).start()
    tasks: set[asyncio.Task[None]] = set()
    failure: list[BaseException] = []
    try:
        with _handled(loop, stop, service.limits.stop_seconds + GRACE_SECONDS):
            while (line := await waiting.get()) is not None:
                task = asyncio.create_task(_answer(service, line, write))
                tasks.add(task)
                task.add_done_callback(done)
            while tasks and not failure:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for error in (*failure, *unreadable):
            raise error
        if signals:
            raise _ended_by(signals[0])
    finally:
        service.stop()
        service.engine.join()


@contextlib.contextmanager
def _handled(loop: asyncio.AbstractEventLoop, stop: Callable[[int], None], seconds: float) -> Iterator[None]:
    """Let the first SIGTERM or SIGINT call a function on the event loop, and a second one end the program.

    The event loop may wait for a reader of standard output, so a second signal comes by itself after some time. The
    handlers are those of Python, as those of an event loop would not interrupt such a write.

    Args:
        loop: the event loop.
        stop: is called with the number of the signal.
        seconds: the time after which the second signal comes.
    """
    timers: list[threading.Timer] = []

    def handle(number: int, frame: object) -> None:
        if timers:
            raise _ended_by(number)
        timers.append(threading.Timer(seconds, signal_main_thread, [number]))
        timers[0].daemon = True
        timers[0].start()
        loop.call_soon_threadsafe(stop, number)

    before: dict[signal.Signals, Any] = {}
    try:
        # only the main thread has signals
        with contextlib.suppress(ValueError):
            for number in (signal.SIGTERM, signal.SIGINT):
                handler = signal.getsignal(number)
                # a shell lets programs in the background ignore Ctrl-C
                if handler is not None and handler is not signal.SIG_IGN:
                    signal.signal(number, handle)
                    before[number] = handler
        yield
    finally:
        for timer in timers:
            timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def _ended_by(number: int) -> BaseException:
    """What the program ends with after a signal."""
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)


def _unreadable(error: OSError) -> DataError:
    cause = error.strerror or type(error).__name__
    return DataError(f"standard input: cannot be read ({cause}); give requests through a pipe, a line for each")


async def _answer(service: Service, line: bytes | int, write: Callable[[str], None]) -> None:
    """Answer a line."""
    head: dict[str, Any] = {"id": None}
    started = time.monotonic()
    name, status = "none", 200
    unwritten: list[Exception] = []

    def tell(answer: Any) -> None:
        try:
            write(dumps(answer))
        except Exception as error:
            unwritten.append(error)
            raise

    try:
        envelope = _envelope(line, service)
        head = {"id": envelope.id}
        operations = {each.name: each for each in OPERATIONS}
        if envelope.operation not in operations:
            hint = nearest(envelope.operation, operations)
            raise Refused(
                404, f"operation: unknown operation {shown(envelope.operation)}{hint}; known: {', '.join(operations)}"
            )
        operation = operations[envelope.operation]
        name = operation.name
        message = None
        if operation.request is not None:
            message = read_message(operation.request, dumps(envelope.request), service.limits, "docs/serving.md")
        asked = Asked(message, envelope.session, started + service.limits.request_seconds)
        answer = await operation.act(service, asked)
        if isinstance(answer, Stream):
            async for event in answer.events:
                # a stream of OpenAI's interface has no result of its own
                key = "result" if event.ended else "event"
                tell({**head, key: event.value})
            if not answer.named:
                tell({**head, "result": None})
        else:
            tell({**head, "result": answer})
    except Exception as error:
        # an answer that cannot be written is none of the request's mistakes
        if unwritten or isinstance(error, OSError):
            raise
        refused = refused_by(error)
        status = refused.status
        # what failed on the model thread is logged there
        if status == 500 and refused is not error:
            log_line(f"refrain: {name} failed: {' '.join(traceback.format_exception(error))}")
        head = head if head["id"] is not None else {"id": _id_of(line)}
        write(dumps({**head, **refused.document()}))
    service.metrics.count(name, status, time.monotonic() - started)


def _id_of(line: bytes | int) -> str | int | float | None:
    """The id of a line that is no request otherwise; None where it cannot be read."""
    try:
        found = loads(line).get("id") if isinstance(line, bytes) else None
    except (ValueError, AttributeError):
        return None
    return found if isinstance(found, str | int | float) and not isinstance(found, bool) else None


def _envelope(line: bytes | int, service: Service) -> Envelope:
    if isinstance(line, int):
        raise too_large("the line", "body_bytes", line, service.limits.body_bytes)
    try:
        return Envelope.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        cause = f"{place}: {first['msg']}" if place else first["msg"]
        raise Refused(
            400,
            f'the line is no request ({cause}); write {{"id": 1, "operation": "next", "request": {{"text": "the"}}}}',
        ) from None
