"""Starting a server, and stopping it so that requests in work are finished."""

import asyncio
import errno
import gc
import socket
import sys
from collections.abc import Callable

import uvicorn

from refrain.errors import UserError

from .connections import Connection
from .gate import is_loopback
from .http import application
from .limits import Limits
from .service import Service

TOKEN_CHARACTERS = 16
"""The shortest token."""
SWITCH_SECONDS = 0.0005
"""How long a thread of Python runs while another waits. The model thread waits for its turn several times a step."""
GARBAGE_OBJECTS = 10_000
"""How many new objects are looked through for garbage at a time. All requests in work have some thousands."""
LOOK_SECONDS = 0.05


def check_token(host: str, token: str | None) -> None:
    """Check that a server that others can reach has a token.

    Args:
        host: the name or address that it listens at.
        token: its token.

    Raises:
        UserError: when it has none, or one that is too short or that no header can carry.
    """
    if token is None:
        if not is_loopback(host):
            raise UserError(
                f"--host {host} can be reached from other machines, which needs a token; give one of at least "
                f"{TOKEN_CHARACTERS} characters with --token or in the environment variable REFRAIN_TOKEN, for example "
                "of: python -c 'import secrets; print(secrets.token_urlsafe())'"
            )
        return
    if len(token) < TOKEN_CHARACTERS or not token.isascii() or not token.isprintable() or " " in token:
        raise UserError(
            f"--token must have at least {TOKEN_CHARACTERS} characters, printable ones of ASCII without blanks "
            f"(got {len(token)} characters)"
        )


def listen(host: str, port: int) -> socket.socket:
    """Open the socket of a server.

    Args:
        host: a name or an address of this machine.
        port: the port; 0 chooses a free one.

    Raises:
        UserError: when the port is in use or not allowed, or the name is unknown.
    """
    if not 0 <= port < 1 << 16:
        raise UserError(f"--port must be at least 0 and less than 65536 (got {port})")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise UserError(f"--host {host}: {error.strerror}; give an address of this machine, or 127.0.0.1") from None
    except UnicodeError:
        # a name with an empty or a very long part
        raise UserError(
            f"--host {host}: is not the name of a host; give an address of this machine, or 127.0.0.1"
        ) from None
    family, kind, protocol, _, address = found[0]
    opened = socket.socket(family, kind, protocol)
    try:
        if sys.platform != "win32":
            # the port of a server that has just ended can be used at once
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(2048)
    except OSError as error:
        opened.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"--port {port} is in use by another program; choose another one, or let --port 0 choose"
            ) from None
        remedy = "choose one from 1024" if error.errno == errno.EACCES else "choose another one"
        raise UserError(f"--host {host} --port {port}: {error.strerror}; {remedy}") from None
    opened.set_inheritable(True)
    return opened


def url_of(opened: socket.socket) -> str:
    """The address of a server for a browser.

    Args:
        opened: its socket.
    """
    host, port = opened.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(service: Service, opened: socket.socket, *, host: str, token: str | None, ready: Callable[[], None]) -> None:
    """Answer requests until a signal stops the server, which then finishes what is in work.

    Args:
        service: what answers.
        opened: the socket, as `listen` returns it.
        host: the name or address that the server listens at.
        token: the token that requests need; None for a server on a loopback address.
        ready: called when requests are answered.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    # what was loaded stays: to look through it for garbage would stop all requests for a tenth of a second now and then
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS, *gc.get_threshold()[1:])
    limits = service.limits
    config = uvicorn.Config(
        application(service, token=token, host=host),
        log_config=None,
        access_log=False,
        log_level="critical",
        server_header=False,
        date_header=False,
        proxy_headers=False,
        ws="none",
        http=Connection,
        # what is left is cancelled by the service itself before this
        timeout_graceful_shutdown=max(1, round(limits.stop_seconds) + 2),
    )
    server = uvicorn.Server(config)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(_serve(server, service, limits, opened, ready))


async def _serve(
    server: uvicorn.Server, service: Service, limits: Limits, opened: socket.socket, ready: Callable[[], None]
) -> None:
    async def watch() -> None:
        while not server.started:
            await asyncio.sleep(LOOK_SECONDS)
        ready()
        while not server.should_exit:
            await asyncio.sleep(LOOK_SECONDS)
        service.stopping = True
        await asyncio.sleep(limits.stop_seconds)
        # streams end with an event that says why
        service.stop()

    watching = asyncio.create_task(watch())
    try:
        await server.serve(sockets=[opened])
    finally:
        watching.cancel()
