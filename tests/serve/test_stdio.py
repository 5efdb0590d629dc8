"""Requests in JSON by lines: the same operations and the same errors as over HTTP."""

import asyncio
import errno
import io
import json
import os
import threading
import time
from dataclasses import replace

import pytest

from refrain.errors import DataError
from refrain.serve import Limits, Service, serve_lines, stdio
from refrain.serve.operations import OPERATIONS
from refrain.serve.stdio import lines_of


def answers(models, *lines, **limits):
    """The answers to some lines, which are bytes or objects."""
    raw = b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
    written = []
    service = Service(models, Limits(**limits))
    asyncio.run(serve_lines(service, io.BytesIO(raw), lambda line: written.append(json.loads(line))))
    assert service.engine.unfinished == 0
    return written


def asked(models, operation, session="", **request):
    line = {"id": 7, "operation": operation, "request": request, **({"session": session} if session else {})}
    (found,) = answers(models, line)
    assert found["id"] == 7
    return found


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("score", {"texts": ["ant bee"]}),
        ("nbest", {"lists": [{"id": "u", "hypotheses": [{"text": "ant", "score": -1}]}]}),
        ("surprisal", {"sentences": ["ant bee"]}),
        ("next", {"text": "ant"}),
        ("generate", {"tokens": 4, "seed": 1}),
        ("units", {"text": "ant", "units": [0]}),
        ("tag", {"text": "the dogs"}),
        ("models", {}),
        ("list-models", {}),
    ],
)
def test_operations_answer_as_over_http(models, client, operation, request_):
    over_http = next(each for each in OPERATIONS if each.name == operation)
    response = client.request(over_http.method, over_http.path, json=request_ if over_http.request else None)
    assert response.status_code == 200
    assert asked(models, operation, **request_) == {"id": 7, "result": response.json()}


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("score", {"texts": "ant"}),
        ("next", {"text": "a\x07"}),
        ("next", {"model": "nonsense"}),
        ("tag", {"model": "words", "text": "a"}),
        ("tag", {}),
        ("score", {"texts": ["a" * 200_000]}),
        ("read", {"text": "ant"}),
    ],
)
def test_errors_are_those_of_http_without_its_words(models, client, operation, request_):
    over_http = next(each for each in OPERATIONS if each.name == operation)
    response = client.post(over_http.path.replace("{session}", "x"), json=request_)
    assert 400 <= response.status_code < 500
    session = "x" if over_http.has_session else ""
    found = asked(models, operation, session, **request_)
    text = json.dumps(found)
    assert not any(word in text for word in ("/openapi.json", "POST", "the body", "Value error", "value error"))
    text = text.replace("docs/serving.md", "/openapi.json").replace("the operation open-session", "POST /sessions")
    assert json.loads(text) == {"id": 7, **response.json()}


def test_more_sessions_than_there_may_be(models):
    lines = [{"id": number, "operation": "open-session"} for number in (1, 2)]
    error = next(each["error"] for each in answers(models, *lines, sessions=1) if "error" in each)
    assert "the limit; close one with the operation close-session, wait until" in error["message"]


def test_what_fails_is_logged(models, monkeypatch, capsys):
    async def failing(service, asked):
        raise RuntimeError("no such luck")

    broken = [replace(each, act=failing) if each.name == "models" else each for each in OPERATIONS]
    monkeypatch.setattr(stdio, "OPERATIONS", broken)
    assert "its log has the cause" in asked(models, "models")["error"]["message"]
    logged = capsys.readouterr().err
    assert "refrain: models failed: " in logged and "RuntimeError: no such luck" in logged


@pytest.mark.timeout(60)
def test_an_input_that_cannot_be_read(models):
    lines = [b'{"id": 1, "operation": "next"}\n']

    class Broken:
        def readline(self, size=-1):
            if lines:
                return lines.pop()
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    written = []
    with pytest.raises(DataError, match=r"^standard input: cannot be read \(Bad file descriptor\); give requests"):
        asyncio.run(serve_lines(Service(models, Limits()), Broken(), lambda line: written.append(json.loads(line))))
    assert [each["id"] for each in written] == [1] and "result" in written[0]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("more", [b"", b'{"id": 2, "operation": "health"}\n'])
def test_an_input_that_goes_on_after_the_output_has_failed(models, monkeypatch, more):
    """What is read then finds a closed loop, and says nothing."""
    ended, raised = threading.Event(), []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    lines = [b'{"id": 1, "operation": "health"}\n']

    class Late:
        def readline(self, size=-1):
            if lines:
                return lines.pop()
            ended.wait(30)
            return more

    def full(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left"):
        asyncio.run(serve_lines(Service(models, Limits()), Late(), full))
    ended.set()
    for thread in threading.enumerate():
        if thread.name == "standard input":
            thread.join(30)
    assert raised == []


@pytest.mark.timeout(60)
def test_a_session_reads_lines_in_order(models):
    service = Service(models, Limits())
    written = asyncio.run(_conversation(service))
    assert [each["result"]["tokens"] for each in written[1:-1]] == [1, 2, 3, 4, 5]
    assert written[-1]["result"]["closed"]


async def _conversation(service):
    """A session that is opened, used before its answers have come, and closed."""

    class Talk:
        def __init__(self):
            self.lines = [b'{"operation": "open-session"}\n']
            self.all = False

        def readline(self, size=-1):
            while not self.lines:
                # leaves Python's lock to the threads that answer
                time.sleep(0.002)
                if written and not self.all:
                    self.all = True
                    session = written[0]["result"]["session"]
                    words = ["ant", "bee", "cat", "dog", "eel"]
                    read = [{"operation": "read", "session": session, "request": {"text": word}} for word in words]
                    close = {"operation": "close-session", "session": session}
                    self.lines = [json.dumps(each).encode() + b"\n" for each in [*read, close]]
                elif len(written) == 7:
                    return b""
            return self.lines.pop(0)

    written = []
    await serve_lines(service, Talk(), lambda line: written.append(json.loads(line)))
    return written


def test_a_stream_has_a_line_for_each_token(models):
    found = answers(models, {"id": "x", "operation": "generate", "request": {"tokens": 3, "seed": 1, "stream": True}})
    assert [list(each) for each in found] == [["id", "event"]] * 3 + [["id", "result"]]
    assert [each["event"] for each in found[:3]] == found[3]["result"]["samples"][0]["tokens"]
    request = {"model": "words", "max_tokens": 2, "stream": True}
    found = answers(models, {"id": 1, "operation": "complete", "request": request})
    assert [list(each)[1] for each in found] == ["event"] * 3 + ["result"]


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (b"nonsense\n", ["the line is no request (Invalid JSON", 'write {"id": 1, "operation": "next"']),
        (b"{}\n", ["operation: Field required"]),
        (b'{"operation": "nxt"}\n', ["did you mean 'next'?", "known: read, next"]),
        (b'{"operation": "next", "text": "a"}\n', ["text: Extra inputs"]),
        (b"\xff\n", ["Invalid JSON"]),
        (b"[" * 5000 + b"\n", ["Invalid JSON"]),
        (b'{"operation": "next", "request": {"text": "' + b"a" * 20_000 + b'"}}\n', ["the line: at most 9,000 bytes"]),
    ],
)
def test_lines_that_are_no_requests(models, line, parts):
    # what follows is answered all the same
    found = answers(models, line, {"id": 2, "operation": "next"}, body_bytes=9000)
    (wrong,) = [each for each in found if "error" in each]
    (right,) = [each for each in found if "result" in each]
    assert wrong["id"] is None and right["id"] == 2
    for part in parts:
        assert part in wrong["error"]["message"]


@pytest.mark.parametrize(
    ("line", "id_"),
    [
        (b'{"id": 5}\n', 5),
        (b'{"id": "five", "operation": "next", "request": 3}\n', "five"),
        (b'{"id": 5, "operation": "next", "text": "a"}\n', 5),
        (b'{"id": [5], "operation": "next"}\n', None),
        (b'{"id": true, "operation": "next"}\n', None),
        (b'[{"id": 5}]\n', None),
    ],
)
def test_the_id_of_a_line_that_is_no_request(models, line, id_):
    (found,) = answers(models, line)
    assert found["id"] == id_ and "the line is no request" in found["error"]["message"]


def test_blank_lines_are_skipped(models):
    (found,) = answers(models, b"\n", b" \t\r\n", {"id": 1, "operation": "next"}, b"  ")
    assert found["id"] == 1 and "result" in found


def test_many_lines_at_once(models):
    lines = [{"id": number, "operation": "next", "request": {"text": "ant " * (number % 7)}} for number in range(600)]
    found = answers(models, *lines)
    assert sorted(each["id"] for each in found) == list(range(600)) and all("result" in each for each in found)


def test_lines_are_cut_where_they_are_too_long():
    source = io.BytesIO(b"ab\n" + b"c" * 200_000 + b"\nde")
    assert list(lines_of(source, 10)) == [b"ab\n", 200_001, b"de"]
