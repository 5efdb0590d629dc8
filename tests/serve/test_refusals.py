"""Requests that cannot be answered get a status of 4xx and JSON that names cause and remedy, and change nothing."""

import random
import re
import time
from pathlib import Path

import pytest

from refrain.serve import Models, serve_model
from refrain.serve.answers import ErrorAnswer
from refrain.serve.operations import OPERATIONS
from refrain.serve.refused import CODES

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-of-the-tests"
POSTS = [operation for operation in OPERATIONS if operation.method == "POST"]


def error(response, status):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    return ErrorAnswer.model_validate_json(response.content).error


@pytest.mark.parametrize(
    ("path", "request_", "status", "code", "field", "parts"),
    [
        ("/next", {"model": "nonsense"}, 404, "model_not_found", "model", ["known: words, bytes, names"]),
        ("/next", {"model": "names"}, 422, "wrong_kind", "model", ["'names' is not a language model", "words, bytes"]),
        ("/generate", {"model": "names"}, 422, "wrong_kind", "model", ["choose one of words, bytes"]),
        ("/tag", {"model": "words", "text": "a"}, 422, "wrong_kind", "model", ["'words' is not a tagger"]),
        ("/next", {"text": "a\x07b"}, 422, "invalid_request", "text", ["text: has the control character U+0007"]),
        ("/score", {"texts": ["a\x1b[2J"]}, 422, "invalid_request", "texts", ["U+001B; remove it"]),
        ("/score", {"texts": "a"}, 422, "invalid_request", "texts", ["texts: input should be a valid array (got 'a')"]),
        ("/score", {"texts": []}, 422, "invalid_request", "texts", ["at least 1"]),
        ("/score", {}, 422, "invalid_request", "texts", ["texts: is missing", "/openapi.json describes"]),
        ("/next", {"txt": "a"}, 422, "invalid_request", "txt", ["txt: is not a field of this request"]),
        (
            "/next",
            {"text": "a" * 201},
            422,
            "too_large",
            "text",
            ["text: at most 200 characters (got 201)", "--max-char"],
        ),
        ("/score", {"texts": ["a" * 150] * 2}, 413, "too_large", None, ["all texts together: at most 200"]),
        ("/score", {"texts": ["a"] * 11}, 422, "too_large", "texts", ["texts: at most 10 texts (got 11)"]),
        ("/next", {"count": 101}, 422, "too_large", "count", ["count: at most 100"]),
        ("/generate", {"tokens": 51}, 422, "too_large", "tokens", ["tokens: at most 50 (got 51)", "--max-tokens"]),
        ("/generate", {"tokens": 0}, 422, "invalid_request", "tokens", ["greater than or equal to 1"]),
        ("/generate", {"temperature": -1}, 422, "invalid_request", "temperature", ["(got -1)"]),
        ("/generate", {"seed": 2**63}, 422, "invalid_request", "seed", ["seed: "]),
        ("/generate", {"clamp": [{"unit": 99, "value": 1}]}, 404, "unknown_unit", "clamp", ["less than 8 (got 99)"]),
        ("/units", {"text": "a", "units": [1], "layer": 5}, 404, "unknown_unit", "units", ["the number of layers"]),
        ("/tag", {}, 422, "invalid_request", None, ["the request: give either text or sentences"]),
        ("/sessions/none/read", {"text": "a"}, 404, "unknown_session", "session", ["POST /sessions"]),
        ("/v1/completions", {"prompt": "a"}, 422, "invalid_request", "model", ["model: is missing"]),
        ("/v1/completions", {"model": "gpt", "prompt": "a"}, 404, "model_not_found", "model", ["known: words"]),
        ("/v1/completions", {"model": "words", "prompt": [999]}, 422, "invalid_request", "prompt", ["less than 8"]),
        *(
            (
                "/v1/completions",
                {"model": "words", field: value},
                422,
                "invalid_request",
                field,
                [f"{field}: is {part}"],
            )
            for field, value, part in (
                ("suffix", "x", "not supported (got 'x'); leave it out"),
                ("logit_bias", {"1": 2}, "not supported (got {'1': 2}); leave it out"),
                ("presence_penalty", 0.5, "not supported (got 0.5); leave it out, or give 0"),
                ("frequency_penalty", "x", "not supported (got 'x'); leave it out, or give 0"),
                ("best_of", 3, "not supported (got 3); leave it out, ask for as many samples with n"),
            )
        ),
    ],
)
def test_requests_that_are_wrong(served, path, request_, status, code, field, parts):
    with served(characters=200, texts=10, tokens=50) as (_, client):
        found = error(client.post(path, json=request_), status)
    assert found.code == code
    if field is not None:
        assert found.param == field
    for part in parts:
        assert part in found.message


@pytest.mark.parametrize(
    ("body", "status", "part"),
    [
        (b"{", 400, "not valid JSON"),
        (b"nonsense", 400, "not valid JSON"),
        (b"\xff\xfe", 400, "not valid JSON"),
        (b'{"text": "\\ud800"}', 400, "not valid JSON"),
        (b"[" * 100_000, 400, "not valid JSON"),
        (b"[]", 422, "the request: "),
        (b"3", 422, "the request: "),
        (b'{"count": NaN}', 422, "count: "),
        (b'{"count": 1e999}', 422, "count: "),
        (b'{"text": null}', 422, "text: "),
        (b'{"count": "1"}', 422, "count: "),
        (b'{"text": "%s"}' % (b"a" * (1 << 20)), 413, "the body: at most 1,048,576 bytes"),
    ],
)
def test_bodies_that_are_wrong(client, body, status, part):
    found = error(client.post("/next", content=body, headers={"content-type": "application/json"}), status)
    assert part in found.message


def test_a_body_that_comes_in_parts_is_not_read_beyond_the_limit(client):
    read = 0

    def parts():
        nonlocal read
        for _ in range(1000):
            read += 1 << 16
            yield b" " * (1 << 16)

    response = client.post("/next", content=parts(), headers={"content-type": "application/json"})
    assert "the body: at most" in error(response, 413).message and response.headers["connection"] == "close"


@pytest.mark.parametrize("media_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_other_media_types(client, media_type):
    headers = {} if media_type is None else {"content-type": media_type}
    assert (
        "send the header Content-Type: application/json"
        in error(client.post("/next", content=b"{}", headers=headers), 415).message
    )


def test_paths_and_methods(client):
    assert "/openapi.json lists" in error(client.get("/nonsense"), 404).message
    response = client.get("/next")
    assert "answers POST only" in error(response, 405).message and response.headers["allow"] == "POST"
    assert "answers GET, HEAD, DELETE only" in error(client.put("/sessions/x"), 405).message
    assert client.head("/health").status_code == 200
    for path in (
        "/next/",
        "/sessions/",
        "/sessions/x/",
        "/sessions/x/read/",
        "/sessions//read",
        "/sessions/{session}/x",
    ):
        assert error(client.get(path), 404).code == "not_found"


def test_a_server_answers_to_its_own_name_only(client):
    for name in ("127.0.0.1:8000", "localhost", "LOCALHOST:80", "[::1]:8000"):
        assert client.get("/health", headers={"host": name}).status_code == 200
    for name in ("example.org", "127.0.0.1.example.org", "localhost.example.org:80", "", "10.0.0.1"):
        assert error(client.get("/health", headers={"host": name}), 421).code == "misdirected_request"


def test_a_token_is_needed_for_everything_but_what_tells_nothing(served):
    with served(token=TOKEN) as (_, client):
        client.headers["host"] = "example.org"
        for path in ("/models", "/metrics", "/v1/models", "/sessions/x"):
            assert "a token is needed" in error(client.get(path), 401).message
            wrong = client.get(path, headers={"authorization": "Bearer wrong"})
            assert "the token is wrong" in error(wrong, 401).message
            assert wrong.headers["www-authenticate"] == "Bearer"
        for operation in POSTS:
            assert client.post(operation.path, json={}).status_code == 401
        for header in ("", "Bearer", f"Basic {TOKEN}", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", "Bearer \xe9"):
            assert client.get("/models", headers={"authorization": header.encode("latin-1")}).status_code == 401
        for path in ("/", "/page/style.css", "/health", "/openapi.json"):
            assert client.get(path).status_code == 200
        for header in (f"Bearer {TOKEN}", f"bearer  {TOKEN} "):
            assert client.get("/models", headers={"authorization": header}).status_code == 200


def test_the_number_of_sessions_is_limited(served):
    with served(sessions=2) as (_, client):
        first, _ = (client.post("/sessions", json={}).json()["session"] for _ in range(2))
        response = client.post("/sessions", json={})
        assert "2 sessions are open" in error(response, 429).message and response.headers["retry-after"]
        client.delete(f"/sessions/{first}")
        assert client.post("/sessions", json={}).status_code == 200


def test_idle_sessions_are_closed(served, monkeypatch):
    clock = time.monotonic
    with served(idle_seconds=100) as (service, client):
        old, used = (client.post("/sessions", json={}).json()["session"] for _ in range(2))
        monkeypatch.setattr("refrain.serve.sessions.time.monotonic", lambda: clock() + 60)
        assert client.post(f"/sessions/{used}/read", json={"text": "ant"}).status_code == 200
        monkeypatch.setattr("refrain.serve.sessions.time.monotonic", lambda: clock() + 120)
        assert error(client.get(f"/sessions/{old}"), 404).code == "unknown_session"
        assert client.get(f"/sessions/{used}").json()["tokens"] == 1
        monkeypatch.setattr("refrain.serve.sessions.time.monotonic", lambda: clock() + 300)
        assert len(service.sessions) == 0


def test_ids_of_sessions_cannot_be_guessed(client):
    ids = {client.post("/sessions", json={"count": 0}).json()["session"] for _ in range(20)}
    assert len(ids) == 20 and all(len(each) >= 22 for each in ids)


def test_a_request_that_takes_too_long_is_ended(served, late_after, nothing_in_work):
    # no machine answers these in a millisecond
    with served(request_seconds=0.001) as (service, client):
        long = " ".join(["ant"] * 20_000)
        for path, request in (
            ("/generate", {"tokens": 2000, "samples": 64}),
            ("/score", {"texts": [long]}),
            ("/surprisal", {"sentences": [long]}),
            ("/units", {"text": long, "units": [0]}),
        ):
            assert "longer than 0.001 s" in error(client.post(path, json=request), 408).message
        nothing_in_work(service)
    with served() as (service, client):
        late_after(service, 3)
        stream = client.post("/generate", json={"tokens": 2000, "samples": 2, "stream": True})
        assert stream.status_code == 200 and '"code": "timeout"' in stream.text.split("event: error\n")[1]
        nothing_in_work(service)


def test_a_default_is_lowered_to_the_limit(served):
    with served(tokens=3, candidates=2) as (_, client):
        (sample,) = client.post("/generate", json={}).json()["samples"]
        assert len(sample["tokens"]) == 3
        assert len(client.post("/next", json={}).json()["candidates"]) == 2
        fields = client.get("/openapi.json").json()["components"]["schemas"]["GenerateRequest"]["properties"]
        assert fields["tokens"]["default"] == fields["tokens"]["maximum"] == 3


def test_the_number_of_waiting_requests_is_limited(served):
    with served(waiting=0) as (_, client):
        response = client.post("/next", json={})
        assert "--max-waiting" in error(response, 429).message and response.headers["retry-after"] == "1"


def test_a_failure_is_hidden_from_the_client_and_logged(served, monkeypatch, capfd):
    def fail(*arguments, **more):
        raise RuntimeError("a secret")

    with served() as (_, client):
        monkeypatch.setattr("refrain.serve.served.ServedModel.best", fail)
        found = error(client.post("/next", json={"text": "ant"}), 500)
        assert found.type == "server_error" and "secret" not in found.message
        assert "a secret" in capfd.readouterr().err
        monkeypatch.undo()
        assert client.post("/next", json={"text": "ant"}).status_code == 200


def test_a_server_of_taggers_alone(served, trained):
    with served(Models([serve_model("names", trained["names"])])) as (_, client):
        assert error(client.post("/next", json={}), 422).code == "wrong_kind"
        assert "/next" not in client.get("/openapi.json").json()["paths"]


def test_the_documentation_has_every_code():
    text = (ROOT / "docs" / "serving.md").read_text()
    rows = re.findall(r"^\| (\d{3}) \| (.+?) \|", text, flags=re.MULTILINE)
    table = {(int(status), code) for status, codes in rows for code in re.findall(r"`(\w+)`", codes)}
    assert set(CODES.items()) <= table
    sources = "".join(path.read_text() for path in (ROOT / "src" / "refrain" / "serve").glob("*.py"))
    others = set(re.findall(r'\bcode="(\w+)"', sources))
    assert others and {code for _, code in table} == {*CODES.values(), *others}


JUNK = (
    "",
    "ant",
    "\x00",
    "\ud7ff",
    "a" * 3000,
    "<script>",
    -1,
    0,
    10**30,
    1.5,
    None,
    True,
    [],
    {},
    [[]],
    [None],
    {"a": 1},
)


def test_malformed_and_oversized_requests_give_no_5xx(served, nothing_in_work):
    draw = random.Random(1)
    with served(characters=2000, texts=5, tokens=20, body_bytes=4000) as (service, client):
        for number in range(150):
            operation = draw.choice(POSTS)
            fields = [*operation.request.model_fields, "nonsense"]
            request = {name: draw.choice(JUNK) for name in draw.sample(fields, draw.randint(0, len(fields)))}
            response = client.post(operation.path.replace("{session}", draw.choice(["x", "%00", "%ff"])), json=request)
            assert response.status_code < 500, (number, operation.path, request, response.text)
        nothing_in_work(service)
        assert client.post("/next", json={"text": "ant"}).status_code == 200
