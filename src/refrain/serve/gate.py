"""What a request has to pass before it is answered: the name of the server, and the token.

A page of the web can send requests to a server on the same machine. Without a token, the server therefore answers only
requests that were sent to its own name, and only JSON, which a page cannot send to another name without being asked.
"""

import functools
import hmac
import ipaddress

from starlette.types import ASGIApp, Receive, Scope, Send

from .refused import Refused
from .replies import send_json


@functools.lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone.

    Args:
        host: a name or an address.
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Gate:
    """Passes requests on that may be answered.

    Args:
        app: what answers them.
        token: the token that they need; None for a server on a loopback address.
        host: the name or address that the server listens at.
        open_paths: paths that need no token.
    """

    def __init__(self, app: ASGIApp, token: str | None, host: str, open_paths: frozenset[str]) -> None:
        self._app = app
        self._token = None if token is None else token.encode()
        self._host = host.lower()
        self._open = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of HTTP, or pass anything else on."""
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            refused = self._refused(scope["path"], headers)
            if refused is not None:
                await send_json(send, refused.document(), refused.status, refused.headers)
                return
        await self._app(scope, receive, send)

    def _refused(self, path: str, headers: dict[bytes, bytes]) -> Refused | None:
        if self._token is None:
            name = headers.get(b"host", b"").decode("latin-1").lower()
            name = name.rpartition(":")[0] if not name.endswith("]") and ":" in name else name
            if is_loopback(name) or name.strip("[]") == self._host.strip("[]"):
                return None
            return Refused(
                421, "the request was sent to another name; use http://127.0.0.1, or give the server a token"
            )
        if path in self._open or path.startswith("/page/"):
            return None
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token):
            return None
        cause = "the token is wrong" if given else "a token is needed"
        return Refused(
            401,
            f"{cause}; send the header Authorization: Bearer TOKEN, with the token that the server was started with",
            headers={"WWW-Authenticate": "Bearer"},
        )
