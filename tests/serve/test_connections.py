"""Connections: what is written together is sent together."""

import asyncio

import pytest
import uvicorn

from refrain.serve.connections import Connection, JoiningTransport


class Transport(asyncio.Transport):
    """Keeps what is sent."""

    def __init__(self):
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.sent = []
        self.closed = False

    def write(self, data):
        if self.closed:
            raise RuntimeError("the handler is closed")
        self.sent.append(data)

    def close(self):
        self.closed = True

    def abort(self):
        self.closed = True

    def is_closing(self):
        return self.closed


def test_what_is_written_in_a_turn_is_sent_at_once():
    async def body():
        transport = Transport()
        joining = JoiningTransport(transport, asyncio.get_running_loop())
        joining.write(b"a")
        joining.write(b"b")
        assert transport.sent == []
        await asyncio.sleep(0)
        assert transport.sent == [b"ab"]
        joining.write(b"c")
        joining.close()
        assert transport.sent == [b"ab", b"c"] and joining.is_closing()
        await asyncio.sleep(0)
        assert transport.sent == [b"ab", b"c"]

    asyncio.run(body())


@pytest.mark.parametrize("end", ["close", "abort"])
def test_nothing_is_sent_to_a_client_that_is_gone(end):
    async def body():
        loop = asyncio.get_running_loop()
        errors = []
        loop.set_exception_handler(lambda _, context: errors.append(context))
        transport = Transport()
        joining = JoiningTransport(transport, loop)
        joining.write(b"a")
        # the transport itself closes the connection, at the end of what the client sends or after an error
        getattr(transport, end)()
        await asyncio.sleep(0)
        joining.write(b"b")
        await asyncio.sleep(0)
        joining.write(b"c")
        joining.close()
        await asyncio.sleep(0)
        assert transport.sent == [] and errors == []

    asyncio.run(body())


async def answer(scope, receive, send):
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("close", [False, True])
def test_a_response_is_sent_at_once(parts, close):
    async def body():
        config = uvicorn.Config(answer, log_config=None, server_header=False, date_header=False, lifespan="off")
        config.load()
        state = uvicorn.Server(config).server_state
        transport = Transport()
        connection = Connection(config, state, {})
        connection.connection_made(transport)
        request = b"POST / HTTP/1.1\r\nContent-Length: 5\r\n" + b"Connection: close\r\n" * close + b"\r\nhello"
        size = -(-len(request) // parts)
        for start in range(0, len(request), size):
            connection.data_received(request[start : start + size])
            await asyncio.sleep(0)
        await asyncio.gather(*state.tasks)
        await asyncio.sleep(0)
        (sent,) = transport.sent
        assert sent.startswith(b"HTTP/1.1 200 ") and sent.endswith(b"\r\n\r\nhello")
        assert transport.closed == close
        connection.connection_lost(None)

    asyncio.run(body())
