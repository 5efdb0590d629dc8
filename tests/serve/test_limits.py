"""Requests that are long or wait are bounded, and let others have their turn."""

import asyncio
import sys
import threading

import pytest
from test_many_clients import with_server

from refrain.serve.batches import SENTENCE_WORDS, SENTENCES, _batches_of


def refusal(response, status):
    assert response.status_code == status, response.text
    return response.json()["error"]


@pytest.mark.parametrize(
    ("path", "request_"),
    [
        ("/generate", {"tokens": 26, "samples": 2}),
        ("/generate", {"tokens": 6, "alternatives": 8}),
        ("/units", {"text": "ant " * 11, "units": [0, 1, 2, 3, 4]}),
    ],
)
def test_the_size_of_an_answer_is_limited(served, path, request_):
    with served(rows=50) as (_, client):
        found = refusal(client.post(path, json=request_), 422)
    assert found["code"] == "too_large" and "at most 50 tokens, candidates and values (got 5" in found["message"]
    assert "--max-rows" in found["message"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_model_thread_that_does_not_answer(served, monkeypatch):
    """It hangs, and then it has ended."""
    go_on = threading.Event()
    monkeypatch.setattr("refrain.serve.engine.GRACE_SECONDS", 0.0)
    with served(request_seconds=0.05) as (service, client):
        monkeypatch.setattr(service.engine, "_round", lambda **more: go_on.wait(60))
        try:
            assert refusal(client.post("/next", json={}), 408)["code"] == "timeout"
            assert refusal(client.post("/generate", json={"stream": True}), 408)["code"] == "timeout"
            assert client.get("/health").json()["status"] == "ok"
        finally:
            monkeypatch.setattr(service.engine, "_take", lambda **more: sys.exit())
            go_on.set()
        service.engine._thread.join(60)
        found = refusal(client.get("/health"), 503)
        assert found["code"] == "failed" and "start the server again" in found["message"]
        assert refusal(client.post("/next", json={}), 503)["code"] == "failed"


def test_texts_are_encoded_by_the_model_thread(served, lm, monkeypatch):
    """A long text takes some time, for which the event loop answers others."""
    vocabulary = type(lm.vocabulary)
    encode, threads = vocabulary.encode, []

    def noted(self, text):
        threads.append(threading.current_thread().name)
        return encode(self, text)

    monkeypatch.setattr(vocabulary, "encode", noted)
    with served() as (_, client):
        session = client.post("/sessions", json={}).json()["session"]
        for path, request in (
            ("/next", {"text": "ant"}),
            ("/score", {"texts": ["ant"]}),
            ("/nbest", {"lists": [{"id": "u", "hypotheses": [{"text": "ant", "score": -1}]}]}),
            ("/surprisal", {"sentences": ["ant"]}),
            ("/generate", {"prompt": "ant", "tokens": 1}),
            ("/units", {"text": "ant", "units": [0]}),
            (f"/sessions/{session}/read", {"text": "ant"}),
            ("/v1/completions", {"model": "words", "prompt": ["ant", "bee"], "max_tokens": 1}),
        ):
            threads.clear()
            assert client.post(path, json=request).status_code == 200
            assert set(threads) == {"model"}, path


def test_sentences_are_tagged_in_batches_of_a_bounded_size(trained, models):
    sentences = [["the"] * count for count in (1, 900, 3, 1000, 2, *[7] * 300, 900, 0)]
    batches = list(_batches_of(sentences))
    assert [sentence for batch in batches for sentence in batch] == sentences
    assert all(len(batch) == 1 or len(batch) * max(map(len, batch)) <= SENTENCE_WORDS for batch in batches)
    assert max(map(len, batches)) == SENTENCES

    async def body(service, client):
        long = await client.post("/tag", json={"text": "the\n" * 300})
        assert len(long.json()["sentences"]) == 300
        return await client.post("/tag", json={"text": "the " * 40})

    response = with_server(models, body, texts=39)
    assert response.status_code == 422 and "at most 39 words (got 40)" in response.json()["error"]["message"]


def test_others_have_their_turn_while_a_text_is_split(models):
    async def body(service, client):
        tagging = asyncio.create_task(client.post("/tag", json={"text": "a.b-" * 10_000}))
        while service.engine.unfinished < 1:
            await asyncio.sleep(0)
        assert (await client.post("/next", json={"text": "ant"})).status_code == 200
        assert not tagging.done()
        tagging.cancel()

    with_server(models, body)


def test_requests_that_wait_for_a_session_have_a_deadline_and_a_limit(models):
    async def body(service, client):
        opened = (await client.post("/sessions", json={"count": 0})).json()["session"]
        path = f"/sessions/{opened}"
        session = service.sessions.get(opened)
        await session.lock.acquire()
        waiting = [asyncio.create_task(client.post(f"{path}/read", json={"text": "ant"})) for _ in range(3)]
        while service.sessions.waiting < 3:
            await asyncio.sleep(0)
        refused = [await client.post(f"{path}/read", json={"text": "ant"}), await client.get(path)]
        assert [each.status_code for each in refused] == [429, 429]
        assert [(await each).json()["error"]["code"] for each in waiting] == ["timeout"] * 3
        assert service.sessions.waiting == 0
        session.lock.release()
        found = await client.post(f"{path}/read", json={"text": "ant"})
        assert found.json()["tokens"] == 1

    with_server(models, body, waiting=3, request_seconds=0.5)


def test_a_session_is_closed_after_what_came_before(models):
    async def body(service, client):
        opened = (await client.post("/sessions", json={"count": 0})).json()["session"]
        path = f"/sessions/{opened}"
        found = await asyncio.gather(
            client.post(f"{path}/read", json={"text": "ant"}),
            client.get(path),
            client.delete(path),
            client.post(f"{path}/read", json={"text": "bee"}),
        )
        assert [each.status_code for each in found] == [200, 200, 200, 404]
        assert found[1].json()["tokens"] == 1

    with_server(models, body)


@pytest.mark.parametrize("model", ["words", "bytes"])
@pytest.mark.parametrize("text", ["", "ant", "ant\n", "ant "])
def test_an_empty_text_returns_the_same_candidates(served, model, text):
    with served() as (_, client):
        found = client.post("/sessions", json={"model": model}).json()
        path = f"/sessions/{found['session']}/read"
        if text:
            found = client.post(path, json={"text": text}).json()
        for _ in range(2):
            assert client.post(path, json={"text": ""}).json()["candidates"] == found["candidates"]
