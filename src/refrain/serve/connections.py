"""The connections of the server: those of uvicorn, with fewer calls of the system."""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class JoiningTransport:
    """A transport that sends what is written in one turn of the event loop at once.

    uvicorn writes the head of a response and its body one after the other. To send them apart takes a tenth of the
    time of a request for a small model, and wakes the client twice.

    Args:
        transport: the transport of a connection, which does everything else.
        loop: the event loop.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send data at the end of this turn of the event loop, unless the connection is closed by then."""
        if not self._parts:
            self._loop.call_soon(self._send)
        self._parts.append(data)

    def close(self) -> None:
        """Close the connection once everything was sent."""
        self._send()
        self._transport.close()

    def _send(self) -> None:
        data, self._parts = b"".join(self._parts), []
        # the client may have gone since; the transport of uvloop raises an error when it is written to after that
        if data and not self._transport.is_closing():
            self._transport.write(data)


class Connection(HttpToolsProtocol):
    """A connection of a client."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to read requests."""
        super().connection_made(cast(asyncio.Transport, JoiningTransport(transport, self.loop)))
