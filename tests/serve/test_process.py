"""The command `refrain serve` as a process: its socket, its streams, its signals and its exit status."""

import contextlib
import http.client
import json
import multiprocessing
import os
import re
import signal
import socket
import sys
import time

import pytest
from processes import CLOSED, PATIENCE, command_process, command_status

from refrain.bench.serve import _load as bench_load
from refrain.cli.app import main
from refrain.errors import UserError
from refrain.serve.starting import check_token, listen, url_of


def read_line(reader):
    """A line of a process, which has not more to write for now."""
    line = b""
    while not line.endswith(b"\n"):
        assert multiprocessing.connection.wait([reader], PATIENCE)
        part = os.read(reader.fileno(), 1 << 16)
        assert part, "the process has ended"
        line += part
    return line


@pytest.fixture
def started(tiny_run, tmp_path):
    """A server on a free port: its process and the port."""
    reader, writer = multiprocessing.Pipe(duplex=False)
    words = ["serve", tiny_run, "--port", "0", "--json", "--stop-seconds", "30"]
    with command_process(words, stdout=writer, stderr=tmp_path / "err") as process:
        announced = json.loads(read_line(reader))
        assert announced["models"][0]["name"] == "tiny" and announced["url"].startswith("http://127.0.0.1:")
        yield process, int(announced["url"].rpartition(":")[2])


def post(port, path, request, timeout=PATIENCE):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    connection.request("POST", path, json.dumps(request), {"Content-Type": "application/json"})
    return connection, connection.getresponse()


def test_sigterm_lets_streams_finish(started, tmp_path):
    process, port = started
    # more than the buffers of a connection hold, so that the stream ends only when it is read
    request = {"tokens": 100, "samples": 64, "alternatives": 8, "stream": True, "seed": 1}
    connection, response = post(port, "/generate", request)
    assert response.status == 200
    first = response.read(200)
    os.kill(process.pid, signal.SIGTERM)
    refused = False
    end = time.monotonic() + PATIENCE
    while not refused and time.monotonic() < end:
        try:
            post(port, "/next", {}, timeout=5)[0].close()
        except OSError:
            refused = True
    # nobody new gets in, while the stream goes on to its end
    assert refused and process.is_alive()
    rest = first + response.read()
    connection.close()
    assert rest.count(b"event: token") == 6400 and b"event: end" in rest
    process.join(PATIENCE)
    assert process.exitcode == 143
    assert "Traceback" not in (tmp_path / "err").read_text()


def test_a_client_that_breaks_off_and_nonsense_do_not_harm(started):
    process, port = started
    connection, response = post(port, "/generate", {"tokens": 2000, "stream": True})
    response.read(100)
    response.close()
    connection.close()
    for nonsense in (
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /next HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as plain:
            plain.sendall(nonsense)
            assert b" 500 " not in plain.recv(1000)
    connection, response = post(port, "/next", {"text": "ant"})
    assert response.status == 200 and len(json.loads(response.read())["candidates"]) == 8
    connection.close()
    # a shell that runs the tests in the background lets them ignore Ctrl-C
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    os.kill(process.pid, signal.SIGTERM if ignored else signal.SIGINT)
    process.join(PATIENCE)
    assert process.exitcode == (143 if ignored else 130)


def test_lines_over_standard_input(tiny_run, write, tmp_path):
    lines = write("in", '{"id": 1, "operation": "next", "request": {"text": "ant", "count": 1}}\nnonsense\n')
    with command_process(["serve", tiny_run, "--stdio"], stdin=lines, stdout=tmp_path / "out") as process:
        process.join(PATIENCE)
        assert process.exitcode == 0
    found = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert sorted(len(each.get("result", {}).get("candidates", [])) for each in found) == [0, 1]


def test_standard_input_that_is_closed(tiny_run, tmp_path):
    assert command_status(["serve", tiny_run, "--stdio"], stdin=CLOSED, stderr=tmp_path / "err") == 3
    assert (tmp_path / "err").read_text().startswith("refrain: standard input is closed; give requests through a pipe")


def complaint(capsys):
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("words", "status", "parts"),
    [
        (["--host", "0.0.0.0"], 2, ["refrain: --host 0.0.0.0 can be reached", "--token", "REFRAIN_TOKEN"]),
        (["--host", "::"], 2, ["needs a token"]),
        (["--token", ""], 2, ["--token must have at least 16 characters", "(got 0 characters)"]),
        (["--token", "short"], 2, ["--token must have at least 16 characters"]),
        (["--port", "70000"], 2, ["--port must be at least 0 and less than 65536"]),
        (["--host", "no.such.host.invalid", "--token", "x" * 16], 2, ["--host no.such.host.invalid: "]),
        (["--max-sessions", "0"], 2, ["--max-sessions must be at least 1 (got 0)"]),
        (["--idle-seconds", "nan"], 2, ["--idle-seconds must be at least 1 (got nan)"]),
        (["--stdio", "--json"], 2, ["--json cannot take effect with --stdio"]),
        (["--stdio", "--port", "8001"], 2, ["--port cannot take effect with --stdio"]),
    ],
)
def test_mistakes_at_the_start(tiny_run, capsys, monkeypatch, words, status, parts):
    monkeypatch.delenv("REFRAIN_TOKEN", raising=False)
    assert main(["serve", str(tiny_run), *words]) == status
    line = complaint(capsys)
    for part in parts:
        assert part in line


@pytest.mark.parametrize("host", ["my..host", "a" * 64 + ".example"])
def test_a_host_that_is_no_name(host):
    with pytest.raises(UserError, match=f"--host {re.escape(host)}: .*; give an address of this machine"):
        listen(host, 0)


def test_a_port_in_use(tiny_run, capsys):
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", str(tiny_run), "--port", str(port)]) == 2
    assert complaint(capsys) == (
        f"refrain: --port {port} is in use by another program; choose another one, or let --port 0 choose"
    )


def test_runs_that_are_missing_or_have_one_name(tiny_run, tmp_path, capsys, monkeypatch):
    assert main(["serve", str(tmp_path / "gone")]) == 4
    assert "no such run folder" in complaint(capsys)
    # the name of a model of the package, as a path
    monkeypatch.chdir(tmp_path)
    assert main(["serve", "./python-docs"]) == 4
    assert "no such run folder" in complaint(capsys)
    assert main(["serve", str(tiny_run), str(tiny_run)]) == 2
    assert "another run is named 'tiny' too; give it a name, as in other=" in complaint(capsys)


def test_the_token_may_come_from_the_environment(monkeypatch):
    from refrain.cli import serve as command

    seen = {}
    monkeypatch.setattr(command, "_named", lambda words: [])
    monkeypatch.setattr(command, "_service", lambda *arguments: None)
    monkeypatch.setattr(command, "_serve_http", lambda service, opened, host, token, json: seen.update(token=token))
    monkeypatch.setenv("REFRAIN_TOKEN", "t" * 20)
    assert main(["serve", "run", "--host", "0.0.0.0", "--port", "0"]) == 0
    assert seen == {"token": "t" * 20}


def test_loopback_needs_no_token():
    for host in ("127.0.0.1", "localhost", "::1", "127.9.9.9"):
        check_token(host, None)
    with listen("127.0.0.1", 0) as opened:
        assert url_of(opened) == f"http://127.0.0.1:{opened.getsockname()[1]}"


def test_the_clients_of_the_benchmark_count_every_answer(started):
    _, port = started
    load = bench_load(port, 3, 0.3, ["ant", "bee"])
    assert load.errors == 0 and load.wall_seconds >= 0.3
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("GET", "/metrics")
    metrics = connection.getresponse().read().decode()
    connection.close()
    assert f'refrain_requests_total{{operation="read",status="200"}} {len(load.seconds)}\n' in metrics
    assert "refrain_sessions 0\n" in metrics
    assert 0 < load.milliseconds(0.5) <= load.milliseconds(0.99)
    refused = bench_load(port, 2, 0.1, ["a\x07b"])
    assert refused.errors == len(refused.seconds) > 0


@pytest.fixture
def lines_in_work(tiny_run, tmp_path):
    """A server over standard streams that is in the middle of a stream: its process, and the end of its output."""

    @contextlib.contextmanager
    def serving(seconds, tokens):
        given, source = multiprocessing.Pipe(duplex=False)
        reader, writer = multiprocessing.Pipe(duplex=False)
        words = ["serve", tiny_run, "--stdio", "--stop-seconds", str(seconds)]
        with command_process(words, stdin=given, stdout=writer, stderr=tmp_path / "err") as process:
            writer.close()
            request = {"id": 2, "operation": "generate", "request": {"tokens": tokens, "stream": True}}
            os.write(source.fileno(), json.dumps(request).encode() + b"\n")
            assert b'"event"' in os.read(reader.fileno(), 1 << 10)
            yield process, reader
        source.close()

    return serving


def fill(reader):
    """Wait until a pipe that nobody reads is full, so that the next write waits for a reader."""
    import fcntl
    import termios

    before, size = -1, 0
    while size != before or size < 1 << 15:
        time.sleep(0.3)
        before, size = size, int.from_bytes(fcntl.ioctl(reader.fileno(), termios.FIONREAD, bytes(4)), sys.byteorder)


def signalled(process, number):
    """Send a signal; the exit status with which it ends. A shell in the background lets the tests ignore Ctrl-C."""
    number = signal.SIGTERM if signal.getsignal(signal.SIGINT) is signal.SIG_IGN else number
    os.kill(process.pid, number)
    return 128 + number


def rest_of(reader):
    """All that a process writes to its end."""
    found = b""
    while part := os.read(reader.fileno(), 1 << 16):
        found += part
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("seconds", "tokens"), [(0, 2000), (60, 300)])
def test_lines_in_work_when_a_signal_comes(lines_in_work, tmp_path, number, seconds, tokens):
    """They are answered, or refused after `--stop-seconds`, and the process ends by itself, not by an abort."""
    with lines_in_work(seconds, tokens) as (process, reader):
        # the stream has more than the pipe holds, so that it is in work
        status = signalled(process, number)
        answer = json.loads(rest_of(reader).splitlines()[-1])
        process.join(PATIENCE)
        assert process.exitcode == status
    assert answer["id"] == 2 and ("result" in answer if seconds else answer["error"]["code"] == "stopping")
    assert "terminate called" not in (tmp_path / "err").read_text()


@pytest.mark.timeout(300)
def test_a_second_signal_ends_a_server_whose_output_nobody_reads(lines_in_work):
    with lines_in_work(60, 2000) as (process, reader):
        fill(reader)
        signalled(process, signal.SIGTERM)
        process.join(1)
        assert process.exitcode is None
        status = signalled(process, signal.SIGTERM)
        process.join(PATIENCE)
        assert process.exitcode == status


@pytest.mark.timeout(300)
def test_one_signal_ends_a_server_whose_output_nobody_reads(lines_in_work):
    with lines_in_work(0, 2000) as (process, reader):
        fill(reader)
        status = signalled(process, signal.SIGTERM)
        process.join(PATIENCE)
        assert process.exitcode == status
