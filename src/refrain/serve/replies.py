"""Responses: JSON, and streams of server-sent events."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from pydantic_core import PydanticSerializationError, to_json
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from refrain.storage.plain_json import dumps

from .jobs import Event
from .refused import refused_by
from .service import Stream

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
RAW_HEADERS = [
    (b"content-type", b"application/json"),
    *((name.lower().encode(), value.encode()) for name, value in HEADERS.items()),
]


async def send_json(send: Send, document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
    """Send a response of JSON.

    Args:
        send: sends messages of ASGI.
        document: plain data.
        status: the HTTP status.
        headers: further headers.
    """
    body = _json(document)
    further = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()]
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*RAW_HEADERS, length, *further]})
    await send({"type": "http.response.body", "body": body})


def _json(document: Any) -> bytes:
    """JSON in which infinite and undefined numbers are null, by pydantic, which takes a tenth of Python's time."""
    try:
        return to_json(document, inf_nan_mode="null")
    except PydanticSerializationError:
        # halves of surrogate pairs
        return dumps(document).encode()


def reply_json(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A response of JSON.

    Args:
        document: plain data.
        status: the HTTP status.
        headers: further headers.
    """
    return Response(_json(document), status, {**HEADERS, **(headers or {})}, media_type="application/json")


def reply_events(stream: Stream, first: Event) -> Response:
    """A response of server-sent events.

    A named stream has the events `token`, and at last `end`, or `error`. Otherwise each event is one JSON object, and
    the last is `[DONE]`, as in OpenAI's interface.

    Args:
        stream: the events after the first.
        first: the first event.
    """
    return StreamingResponse(
        _lines(stream, first), headers={**HEADERS, "X-Accel-Buffering": "no"}, media_type="text/event-stream"
    )


async def _lines(stream: Stream, first: Event) -> AsyncIterator[bytes]:
    def line(event: Event) -> bytes:
        return _event(event.value, ("end" if event.ended else "token") if stream.named else None)

    try:
        yield line(first)
        async for event in stream.events:
            yield line(event)
    except Exception as error:
        yield _event(refused_by(error).document(), "error" if stream.named else None)
    if not stream.named:
        yield b"data: [DONE]\n\n"


def _event(value: Any, name: str | None) -> bytes:
    data = f"data: {dumps(value)}\n\n"
    return (f"event: {name}\n{data}" if name else data).encode()
