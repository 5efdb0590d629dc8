"""The operations as an ASGI application, which comes before the framework.

A request for the next word takes about as long as a step of a small model, and much of that would be spent in the
layers of the framework. So these requests are found in a table, and their answers are sent directly.
"""

import asyncio
import contextlib
import time
import traceback

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from refrain.errors import shortened
from refrain.storage.plain_text import log_line

from .fields import read_message, too_large
from .operations import OPERATIONS, Operation
from .refused import Refused, refused_by, too_slow
from .replies import reply_events, send_json
from .service import Answer, Asked, Service, Stream

SESSIONS = "/sessions/"
MOST_DROPPED = 16
"""The rest of a body that is too large is read and dropped if it announces at most this many times the limit."""


class Endpoints:
    """Answers the requests for operations, and passes others on.

    Args:
        app: what answers the others.
        service: what answers the operations.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service
        self._paths: dict[str, dict[str, Operation]] = {}
        for operation in OPERATIONS:
            methods = self._paths.setdefault(operation.path, {})
            methods[operation.method] = operation
            if operation.method == "GET":
                methods["HEAD"] = operation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, session = scope["path"], ""
        if path.startswith(SESSIONS):
            session, slash, rest = path[len(SESSIONS) :].partition("/")
            path = f"{SESSIONS}{{session}}{slash}{rest}" if session else path
        methods = self._paths.get(path)
        if methods is None:
            await self._app(scope, receive, send)
        elif scope["method"] in methods:
            await self._answer(methods[scope["method"]], session, scope, receive, send)
        else:
            allowed = ", ".join(methods)
            refused = Refused(405, f"this path answers {allowed} only; /openapi.json lists the operations")
            await send_json(send, refused.document(), 405, {"Allow": allowed})

    async def _answer(self, operation: Operation, session: str, scope: Scope, receive: Receive, send: Send) -> None:
        service = self._service
        started = time.monotonic()
        status = 200
        try:
            answer = await _answered(service, operation, session, started, scope, receive)
            if isinstance(answer, Stream):
                # what fails at once has a status of its own
                first = await anext(answer.events)
                await reply_events(answer, first)(scope, receive, send)
            else:
                await send_json(send, answer)
        except ClientDisconnect:
            # nobody reads an answer
            status = 408
        except Exception as error:
            refused = refused_by(error)
            status = refused.status
            # what failed on the model thread is logged there
            if status == 500 and refused is not error:
                log_line(f"refrain: {operation.name} failed: {' '.join(traceback.format_exception(error))}")
            await send_json(send, refused.document(), status, refused.headers)
        finally:
            service.metrics.count(operation.name, status, time.monotonic() - started)


async def _answered(
    service: Service, operation: Operation, session: str, started: float, scope: Scope, receive: Receive
) -> Answer:
    seconds = service.limits.request_seconds
    message = None
    if operation.request is not None:
        headers = dict(scope["headers"])
        _check_json(headers)
        try:
            async with asyncio.timeout(seconds):
                body = await _body(headers, receive, service.limits.body_bytes)
        except TimeoutError:
            raise too_slow(service.limits) from None
        message = read_message(operation.request, body, service.limits)
    asked = Asked(message, session, started + seconds)
    if operation.streams and not getattr(message, "stream", False):
        return await _unless_gone(operation, service, asked, receive)
    return await operation.act(service, asked)


async def _unless_gone(operation: Operation, service: Service, asked: Asked, receive: Receive) -> Answer:
    """Answer a request that may take long, unless its client goes away."""

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    work = asyncio.ensure_future(operation.act(service, asked))
    watch = asyncio.create_task(gone())
    try:
        await asyncio.wait([work, watch], return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnect
        return await work
    finally:
        work.cancel()
        watch.cancel()


def _check_json(headers: dict[bytes, bytes]) -> None:
    """Check that a request says that its body is JSON.

    Raises:
        Refused: when it does not.
    """
    given = headers.get(b"content-type", b"").decode("latin-1")
    if given.partition(";")[0].strip().lower() != "application/json":
        raise Refused(
            415,
            f"the body must be JSON (got {shortened(given, 60) or 'no Content-Type'}); send the header Content-Type: "
            "application/json",
        )


async def _body(headers: dict[bytes, bytes], receive: Receive, most: int) -> bytes:
    """The body of a request.

    Raises:
        Refused: when it is too large, which is found before all of it was read.
    """
    given = headers.get(b"content-length", b"0")
    size = int(given) if given.isdigit() and len(given) < 20 else 0
    parts: list[bytes] = []
    announced, more = size, True
    size = 0
    while more and max(size, announced) <= most:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        more = message.get("more_body", False)
    if (size := max(size, announced)) > most:
        if more and size <= MOST_DROPPED * most:
            await _drop(receive)
        refused = too_large("the body", "body_bytes", size, most)
        refused.headers["Connection"] = "close"
        raise refused
    return b"".join(parts)


async def _drop(receive: Receive) -> None:
    """Read the rest of a body for a second at most, for clients that read no answer before they have sent it all."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1):
            while (message := await receive())["type"] != "http.disconnect" and message.get("more_body", False):
                pass
