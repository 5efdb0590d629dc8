"""The operations over HTTP, as an application that any ASGI server can run."""

import asyncio
import contextlib
import time
import traceback
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import PurePath
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from refrain.errors import shortened
from refrain.storage.plain_text import log_line

from .fields import read_message, too_large
from .gate import Gate
from .metrics import MEDIA_TYPE
from .openapi import OPEN_PATHS, openapi
from .operations import OPERATIONS, Operation
from .refused import Refused, refused_by, too_slow
from .replies import HEADERS, reply_events, reply_json
from .service import Asked, Service, Stream

PAGE = "index.html"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy of the page: nothing from elsewhere, and nothing inline."""
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def application(service: Service, *, token: str | None = None, host: str = "127.0.0.1") -> ASGIApp:
    """The application of a server. It starts the model thread, and stops it at the end.

    Args:
        service: what answers.
        token: the token that requests need; None for a server on a loopback address.
        host: the name or address that the server listens at.
    """

    @contextlib.asynccontextmanager
    async def running(_: Starlette) -> AsyncIterator[None]:
        service.start()
        yield
        service.stop()

    document = openapi(service.models, service.limits, needs_token=token is not None)
    routes = [Route(each.path, _Endpoint(service, each), methods=[each.method]) for each in OPERATIONS]
    routes += [
        Route("/openapi.json", _constant(reply_json(document))),
        Route("/metrics", _metrics(service)),
        *_page(),
    ]
    handlers: Any = {HTTPException: _no_route, Exception: _failed}
    app = Starlette(routes=routes, lifespan=running, exception_handlers=handlers)
    app.router.redirect_slashes = False
    paths = frozenset({*OPEN_PATHS, *(each.path for each in OPERATIONS if each.open)})
    return Gate(app, token, host, paths)


class _Endpoint:
    """Answers the requests of an operation. As an object, it is called without a wrapper of the framework."""

    def __init__(self, service: Service, operation: Operation) -> None:
        self._service, self._operation = service, operation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service, operation = self._service, self._operation
        started = time.monotonic()
        try:
            found = await _answered(service, operation, Request(scope, receive), started)
        except ClientDisconnect:
            # nobody reads it
            found = Response(status_code=408)
        except Exception as error:
            refused = refused_by(error)
            # what failed on the model thread is logged there
            if refused.status == 500 and refused is not error:
                log_line(f"refrain: {operation.name} failed: {' '.join(traceback.format_exception(error))}")
            found = reply_json(refused.document(), refused.status, refused.headers)
        try:
            await found(scope, receive, send)
        finally:
            service.metrics.count(operation.name, found.status_code, time.monotonic() - started)


async def _answered(service: Service, operation: Operation, request: Request, started: float) -> Response:
    deadline = started + service.limits.request_seconds
    message = None
    if operation.request is not None:
        check_json(request)
        try:
            async with asyncio.timeout(service.limits.request_seconds):
                body = await _body(request, service.limits.body_bytes)
        except TimeoutError:
            raise too_slow(service.limits) from None
        message = read_message(operation.request, body, service.limits)
    asked = Asked(message, request.path_params.get("session", ""), deadline)
    if operation.streams:
        return await _unless_gone(request, operation, service, asked)
    answer = await operation.act(service, asked)
    assert isinstance(answer, dict)
    return reply_json(answer)


async def _unless_gone(request: Request, operation: Operation, service: Service, asked: Asked) -> Response:
    """Answer a request that may take long, unless its client goes away."""
    if asked.message.stream:
        answer = await operation.act(service, asked)
        assert isinstance(answer, Stream)
        # what fails at once has a status of its own
        return reply_events(answer, await anext(answer.events))

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    work = asyncio.ensure_future(operation.act(service, asked))
    watch = asyncio.create_task(gone())
    try:
        await asyncio.wait([work, watch], return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnect
        return reply_json(await work)
    finally:
        work.cancel()
        watch.cancel()


def check_json(request: Request) -> None:
    """Check that a request says that its body is JSON.

    Raises:
        Refused: when it does not.
    """
    given = request.headers.get("content-type", "")
    if given.partition(";")[0].strip().lower() != "application/json":
        raise Refused(
            415,
            f"the body must be JSON (got {shortened(given, 60) or 'no Content-Type'}); send the header Content-Type: "
            "application/json",
        )


async def _body(request: Request, most: int) -> bytes:
    """The body of a request.

    Raises:
        Refused: when it is too large, which is found before all of it was read.
    """
    given = request.headers.get("content-length", "0")
    size = int(given) if given.isdecimal() else 0
    parts: list[bytes] = []
    if size <= most:
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > most:
                break
            parts.append(part)
    if size > most:
        # what remains of the body is not read
        refused = too_large("the body", "body_bytes", size, most)
        refused.headers["Connection"] = "close"
        raise refused
    return b"".join(parts)


def _metrics(service: Service) -> Any:
    async def metrics(request: Request) -> Response:
        return Response(service.metrics.text(service), headers=HEADERS, media_type=MEDIA_TYPE)

    return metrics


def _constant(response: Response) -> Any:
    async def constant(request: Request) -> Response:
        return response

    return constant


def _page() -> list[Route]:
    """The routes of the page: its files, which are read once. `index.html` is at `/`, the others at `/page/NAME`."""
    routes = []
    for file in resources.files("refrain.serve").joinpath("page").iterdir():
        media_type = MEDIA_TYPES.get(PurePath(file.name).suffix)
        if media_type is not None:
            headers = {**HEADERS, "Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
            response = Response(file.read_bytes(), headers=headers, media_type=media_type)
            path = "/" if file.name == PAGE else f"/page/{file.name}"
            routes.append(Route(path, _constant(response)))
    return routes


async def _no_route(request: Request, error: Exception) -> Response:
    """The response to a path that does not exist, or a method that it does not have."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        refused = Refused(405, f"this path answers {allowed} only; /openapi.json lists the operations")
        return reply_json(refused.document(), 405, error.headers)
    refused = Refused(404, "there is nothing at this path; /openapi.json lists the operations")
    return reply_json(refused.document(), 404)


async def _failed(request: Request, error: Exception) -> Response:
    refused = refused_by(error)
    return reply_json(refused.document(), refused.status)
