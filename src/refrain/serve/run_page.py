"""The page of `refrain watch --port`: the runs that train, for a browser on the same machine."""

import socket
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

from refrain.errors import UserError
from refrain.storage.plain_json import dumps
from refrain.storage.plain_text import log_line

HOST = "127.0.0.1"
"""The page shows the names and figures of runs to whoever can reach it, so that only this machine can."""
FILES = {"": "index.html", "watch.css": "watch.css", "watch.js": "watch.js"}
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def run_page(folder: Path, document: Callable[[], dict[str, Any]], seconds: float) -> Any:
    """The application (ASGI) with the page at `/`, and the runs as JSON at `/runs.json`.

    Args:
        folder: the folder that is watched.
        document: returns the runs as one JSON object.
        seconds: the time between updates.

    Raises:
        UserError: when starlette is missing.
    """
    try:
        from starlette.applications import Starlette
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware
        from starlette.requests import Request
        from starlette.responses import Response
        from starlette.routing import Route
    except ImportError:
        raise UserError("--port needs starlette and uvicorn: pip install 'refrain-lm[serve]'") from None

    def runs(request: Request) -> Response:
        found = {**document(), "seconds": seconds}
        return Response(dumps(found), media_type="application/json", headers=_HEADERS)

    def file(request: Request) -> Response:
        name = FILES[request.url.path.removeprefix("/")]
        content = resources.files("refrain.serve").joinpath("runs", name).read_bytes()
        return Response(content, media_type=_TYPES[Path(name).suffix], headers=_HEADERS)

    # a page of another site could reach this machine under a name of its own
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    routes = [Route("/runs.json", runs), *(Route(f"/{name}", file) for name in FILES)]
    return Starlette(routes=routes, middleware=[hosts])


def serve_runs(folder: Path, document: Callable[[], dict[str, Any]], *, port: int, seconds: float) -> None:
    """Serve the page until a signal ends the process.

    Args:
        folder: the folder that is watched.
        document: returns the runs as one JSON object.
        port: the port; 0 chooses a free one.
        seconds: the time between updates.

    Raises:
        UserError: when starlette or uvicorn are missing, or the port is in use or not allowed.
    """
    app = run_page(folder, document, seconds)
    try:
        import uvicorn
    except ImportError:
        raise UserError("--port needs starlette and uvicorn: pip install 'refrain-lm[serve]'") from None
    if not 0 <= port < 65536:
        raise UserError(f"--port must be from 0 to 65535 (got {port})")
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            raise UserError(f"--port {port}: {error.strerror}; choose another one, or 0 for any that is free") from None
        # from here on a browser that is early waits for its answer
        listener.listen()
        log_line(f"watching {folder} at http://{HOST}:{listener.getsockname()[1]}/ until Ctrl-C")
        config = uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1)
        uvicorn.Server(config).run(sockets=[listener])
