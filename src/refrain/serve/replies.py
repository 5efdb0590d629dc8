"""Responses: JSON, and streams of server-sent events."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.responses import Response, StreamingResponse

from refrain.storage.plain_json import dumps

from .jobs import Event
from .refused import refused_by
from .service import Stream

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def reply_json(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A response of JSON.

    Args:
        document: plain data.
        status: the HTTP status.
        headers: further headers.
    """
    try:
        text = json.dumps(document, allow_nan=False)
    except ValueError:
        text = dumps(document)
    return Response(text, status, {**HEADERS, **(headers or {})}, media_type="application/json")


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
