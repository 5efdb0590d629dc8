"""A server under load: many clients that send a word at a time, against one that waits for each answer.

The server is a process of its own, started as a user starts it. The clients share the processor with it.
"""

import json
import os
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from itertools import cycle
from pathlib import Path
from typing import Any

from refrain.errors import UserError

from .timing import row

CANDIDATES = 5
WORDS = 100
"""The words that the clients take from a generated text, in turns."""
PATIENCE = 60.0


@dataclass
class Load:
    """What clients have measured.

    Attributes:
        seconds: the times from a request to the end of its answer.
        errors: the number of answers with another status than 200.
        wall_seconds: the time of all.
    """

    seconds: list[float] = field(default_factory=list)
    errors: int = 0
    wall_seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.seconds) / self.wall_seconds

    def milliseconds(self, share: float) -> float:
        """The time below which a share of the answers come."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def bench_serve(run: Path, *, clients: int, seconds: float) -> list[dict[str, Any]]:
    """Measure a server of a language model.

    One client and all clients are measured in turns: one, all, one. Each has a session and sends a word, whose answer
    has five candidates for the next.

    Args:
        run: the run folder of the model.
        clients: the number of clients that send at a time.
        seconds: the time for which all clients send; one client sends for a sixth of it, twice.

    Returns:
        A row for one client and one for all, with the times `p50_ms` and `p99_ms`, the number of `errors`, and for all
        clients `start_seconds`, the time from the start of the process to its first answer, and `growth_mb`, by which
        the memory of the server has grown.

    Raises:
        UserError: when the server does not start.
    """
    with _server(run) as (port, process, start_seconds):
        generated = _ask(port, "POST", "/generate", {"tokens": WORDS, "seed": 1, "allow_unknown": False})
        words = [each["text"] for each in generated["samples"][0]["tokens"]]
        before = _load(port, 1, seconds / 6, words)
        memory = _resident(process.pid)
        every = _load(port, clients, seconds, words)
        grown = None if memory is None else (_resident(process.pid) or 0) - memory
        after = _load(port, 1, seconds / 6, words)
    single = statistics.median([before.rate, after.rate])
    one = row("one client", [before.rate, after.rate], "words/s")
    many = row(f"{clients} clients", [every.rate], "words/s", ratios=[every.rate / single])
    alone = Load(before.seconds + after.seconds, before.errors + after.errors)
    rows = []
    for found, load in ((one, alone), (many, every)):
        times = {"p50_ms": load.milliseconds(0.5), "p99_ms": load.milliseconds(0.99)}
        rows.append({**found, **times, "errors": load.errors})
    rows[1] |= {"start_seconds": start_seconds, "growth_mb": None if grown is None else grown / 1e6}
    return rows


@contextmanager
def _server(run: Path) -> Iterator[tuple[int, "subprocess.Popen[str]", float]]:
    """A server on a free port: the port, the process, and the seconds until its first answer."""
    words = [sys.executable, "-m", "refrain", "serve", str(run), "--port", "0", "--device", "cpu", "--json"]
    started = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    # the clients send no token
    environment.pop("REFRAIN_TOKEN", None)
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise UserError(f"the server of {run} did not start; see the message above")
        port = int(json.loads(line)["url"].rpartition(":")[2])
        _ask(port, "POST", "/next", {"text": "", "count": CANDIDATES})
        yield port, process, time.perf_counter() - started
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _request(method: str, path: str, document: Any, port: int) -> bytes:
    body = json.dumps(document).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _ask(port: int, method: str, path: str, document: Any) -> Any:
    """One request, and its answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, json.dumps(document), {"Content-Type": "application/json"})
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise UserError(f"the server answered {path} with {body.decode()}")
    return json.loads(body)


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])


class _Client:
    """A client that sends its next request as soon as it has an answer, on a connection that does not block."""

    def __init__(self, port: int, requests: Sequence[bytes]) -> None:
        self.connection = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection.setblocking(False)
        self._requests = cycle(requests)
        self._buffer = b""
        self._sent = 0.0

    def send(self, now: float) -> None:
        """Send the next request, which is much smaller than the buffer of a connection."""
        self._sent = now
        self.connection.send(next(self._requests))

    def receive(self, load: Load, now: float) -> bool:
        """Read what has come, and count the answer if it is complete; returns whether it is.

        Raises:
            ConnectionError: when the server has closed the connection.
        """
        data = self.connection.recv(1 << 16)
        if not data:
            raise ConnectionError("the server has closed a connection")
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or len(self._buffer) < end + 4 + _length(self._buffer[: end + 2]):
            return False
        load.seconds.append(now - self._sent)
        load.errors += not self._buffer.startswith(b"HTTP/1.1 200 ")
        self._buffer = b""
        return True


def _load(port: int, clients: int, seconds: float, words: Sequence[str]) -> Load:
    """Let clients send for some seconds, each in a session of its own.

    One loop without a framework serves all connections, since it takes its time from the server on the same cores.

    Raises:
        UserError: when the server does not answer any more.
    """
    sessions = [_ask(port, "POST", "/sessions", {"count": 0})["session"] for _ in range(clients)]
    load = Load()
    with selectors.DefaultSelector() as selector:
        for number, session in enumerate(sessions):
            shift = number % len(words)
            texts = [*words[shift:], *words[:shift]]
            path = f"/sessions/{session}/read"
            requests = [_request("POST", path, {"text": text, "count": CANDIDATES}, port) for text in texts]
            client = _Client(port, requests)
            selector.register(client.connection, selectors.EVENT_READ, client)
        try:
            _exchange(selector, load, seconds)
        finally:
            for key in list(selector.get_map().values()):
                key.data.connection.close()
    for session in sessions:
        _ask(port, "DELETE", f"/sessions/{session}", {})
    return load


def _exchange(selector: selectors.BaseSelector, load: Load, seconds: float) -> None:
    """Let the clients of a selector send requests until the time is over and all have their answers."""
    started = time.perf_counter()
    for key in list(selector.get_map().values()):
        key.data.send(started)
    while selector.get_map():
        ready = selector.select(PATIENCE)
        if not ready:
            raise UserError(f"the server has not answered for {PATIENCE:g} s")
        for key, _ in ready:
            _go_on(selector, key.data, load, started + seconds)
    load.wall_seconds = time.perf_counter() - started


def _go_on(selector: selectors.BaseSelector, client: _Client, load: Load, ends: float) -> None:
    """Read from a client's connection; then send its next request, or close the connection at the end."""
    now = time.perf_counter()
    try:
        if not client.receive(load, now):
            return
        if now < ends:
            client.send(now)
            return
    except OSError:
        load.errors += 1
    selector.unregister(client.connection)
    client.connection.close()


def _resident(process: int) -> int | None:
    """The memory of a process in bytes, where the system tells it."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")), None)
