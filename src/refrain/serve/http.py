"""The operations over HTTP, as an application that any ASGI server can run."""

import contextlib
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import PurePath
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from .endpoints import Endpoints
from .gate import Gate
from .metrics import MEDIA_TYPE
from .openapi import OPEN_PATHS, openapi
from .operations import OPERATIONS
from .refused import Refused, refused_by
from .replies import HEADERS, reply_json
from .service import Service

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
        service.engine.join()

    document = openapi(service.models, service.limits, needs_token=token is not None)
    routes = [
        Route("/openapi.json", _constant(reply_json(document))),
        Route("/metrics", _metrics(service)),
        *_page(),
    ]
    handlers: Any = {HTTPException: _no_route, Exception: _failed}
    app = Starlette(routes=routes, lifespan=running, exception_handlers=handlers)
    app.router.redirect_slashes = False
    paths = frozenset({*OPEN_PATHS, *(each.path for each in OPERATIONS if each.open)})
    return Gate(Endpoints(app, service), token, host, paths)


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
