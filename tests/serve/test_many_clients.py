"""Many clients at a time: their steps share batches, and none of them notices the others."""

import asyncio
import gc
import json
import random
import threading
import time
from collections.abc import Generator

import httpx2
import pytest
import torch

from refrain.serve import Limits, Models, Service, application, serve_model
from refrain.serve.reading import advancing, predicting
from refrain.serve.requests import NextRequest, ReadRequest
from refrain.serve.served import FEW_SEQUENCES, MOST_SEQUENCES, SIZE_STEP
from refrain.serve.slots import Slots

WORDS = ("ant", "bee", "cat", "dog", "eel", "fox", "zebra")
CLIENTS = 24
SECONDS = 60


def with_server(models, body, **limits):
    """Run `body(service, client)` beside a server whose application is called in this process."""
    service = Service(models, Limits(**limits))
    app = application(service)

    async def run():
        service.start()
        transport = httpx2.ASGITransport(app)
        try:
            async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                async with asyncio.timeout(SECONDS):
                    return await body(service, client)
        finally:
            service.stop()

    return asyncio.run(run())


def rows_alone(lm, ids):
    """The log-probabilities before each id and after the last, by the model alone."""
    state = lm.initial_state()
    rows = []
    for index in [lm.vocabulary.line_end, *ids]:
        row, state = lm.step(torch.tensor([index]), state)
        rows.append(row[0])
    return rows


async def typing(client, lm, seed):
    """A client that types in a session, and compares what it gets with the model alone."""
    draw = random.Random(seed)
    opened = (await client.post("/sessions", json={"count": 0})).json()["session"]
    typed = [draw.choice(WORDS) for _ in range(8)]
    rows = rows_alone(lm, lm.vocabulary.encode(" ".join(typed)))
    for number, word in enumerate(typed):
        body = {"text": word, "count": len(lm.vocabulary), "score": draw.random() < 0.3}
        found = (await client.post(f"/sessions/{opened}/read", json=body)).json()
        assert found["tokens"] == number + 1
        row = torch.full((len(lm.vocabulary),), torch.nan)
        for each in found["candidates"]:
            row[each["id"]] = each["log_probability"]
        torch.testing.assert_close(row, rows[number + 1], rtol=1e-6, atol=1e-6)
        if body["score"]:
            (read,) = found["read"]
            assert read["log_probability"] == pytest.approx(float(rows[number][read["id"]]), rel=1e-6, abs=1e-6)
    if draw.random() < 0.5:
        assert (await client.delete(f"/sessions/{opened}")).status_code == 200


async def asking(client, lm, seed):
    """A client that generates, scores and asks for the next word, and compares."""
    draw = random.Random(seed)
    for _ in range(2):
        text = " ".join(draw.choices(WORDS, k=draw.randint(1, 20)))
        drawn = (await client.post("/generate", json={"prompt": text, "tokens": 8, "seed": seed})).json()
        assert [text + drawn["samples"][0]["text"]] == lm.generate(text, tokens=8, seed=seed)
        scored = (await client.post("/score", json={"texts": [text]})).json()
        assert scored["scores"][0]["nats"] == pytest.approx(lm.score(text).nats, rel=1e-6, abs=1e-6)
        following = (await client.post("/next", json={"text": text, "count": 1})).json()
        best = rows_alone(lm, lm.vocabulary.encode(text))[-1].max()
        assert following["candidates"][0]["log_probability"] == pytest.approx(float(best), rel=1e-6, abs=1e-6)


def test_no_client_sees_another(models, lm):
    async def body(service, client):
        clients = [(typing if number % 3 else asking)(client, lm, number) for number in range(CLIENTS)]
        await asyncio.gather(*clients)
        return service

    service = with_server(models, body)
    # they have really shared batches
    assert service.engine.sequences > service.engine.steps
    assert service.engine.unfinished == 0


def test_what_waits_is_computed_in_one_batch(models):
    async def run():
        service = Service(models, Limits())
        model = models.language_model(None)
        asked = [NextRequest(text="ant bee", count=1) for _ in range(MOST_SEQUENCES + 6)]
        deadline = time.monotonic() + SECONDS
        tasks = [asyncio.create_task(service.engine.run(predicting(model, each), deadline)) for each in asked]
        while service.engine.unfinished < len(asked):
            await asyncio.sleep(0)
        service.start()
        found = await asyncio.gather(*tasks)
        service.stop()
        return service.engine, found

    engine, found = asyncio.run(run())
    assert all(each == found[0] for each in found)
    # three tokens of each; those for which there was no room are in the next batch
    assert (engine.steps, engine.sequences) == (4, 3 * (MOST_SEQUENCES + 6))


@pytest.mark.parametrize("count", [1, FEW_SEQUENCES, FEW_SEQUENCES + 1, SIZE_STEP, SIZE_STEP + 1, MOST_SEQUENCES])
def test_a_batch_of_any_size_is_that_of_single_sequences(lm, count):
    model = serve_model("words", lm)
    slots = [model.states.zero] * count
    ids = torch.arange(count) % len(lm.vocabulary)
    state = lm.stepper.initial_state(count)
    for _ in range(3):
        rows, filled = model.step(ids.tolist(), slots)
        slots = model.states.add(filled, count)
        expected, state = lm.stepper.step(ids, state)
        torch.testing.assert_close(rows, expected, rtol=1e-6, atol=1e-6)
        ids = ids.flip(0)


def test_the_candidates_of_a_batch_are_those_of_each_row(lm):
    model = serve_model("words", lm)
    ids = list(range(len(lm.vocabulary)))
    rows, _ = model.step(ids, [model.states.zero] * len(ids))
    counts = [index % 4 for index in ids]
    counts[-1] = len(ids) + 5
    for asked in (counts, [0] * len(ids), [3] * len(ids)):
        found = model.best(rows, asked)
        assert found == [model.candidates(row, count) for row, count in zip(rows, asked, strict=True)]


def test_a_request_leaves_no_garbage(models):
    """A server collects garbage rarely, so that nothing large may wait for that."""

    async def body(service, client):
        session = (await client.post("/sessions", json={})).json()["session"]
        found = []

        async def ask():
            for word in WORDS:
                model = service.models.language_model(None)
                place = service.sessions.get(session).place
                program = advancing(model, place, ReadRequest(text=word))
                found.append(await service.engine.run(program, time.monotonic() + SECONDS))

        await ask()
        gc.collect()
        gc.disable()
        try:
            await ask()
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            return [each for each in gc.garbage if isinstance(each, torch.Tensor | Generator)]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()

    assert with_server(models, body) == []


def test_memory_of_states_is_used_again(lm):
    slots = Slots(lm.stepper)
    kept = slots.add(lm.stepper.initial_state(30), 30)
    indices = {slot.index for slot in kept}
    assert len(indices) == 30 and slots.zero.index not in indices
    del kept
    again = slots.add(lm.stepper.initial_state(60), 60)
    assert indices < {slot.index for slot in again}
    # more than there was room for: what was kept is still there
    state = tuple(type(part)(*(torch.full_like(each, 7.0) for each in part)) for part in lm.stepper.initial_state(1))
    (seven,) = slots.add(state, 1)
    more = slots.add(lm.stepper.initial_state(500), 500)
    assert len({slot.index for slot in [*again, *more, seven, slots.zero]}) == 562
    gathered = slots.gather([more[3], seven, seven, slots.zero])
    assert gathered[0].hidden[:, 0].tolist() == [0, 7, 7, 0]


def test_requests_of_a_session_follow_each_other(models, lm):
    async def body(service, client):
        opened = (await client.post("/sessions", json={"count": 0})).json()["session"]
        path = f"/sessions/{opened}/read"
        found = await asyncio.gather(*(client.post(path, json={"text": word, "count": 0}) for word in WORDS))
        return sorted(response.json()["tokens"] for response in found)

    assert with_server(models, body) == list(range(1, len(WORDS) + 1))


def test_a_long_request_does_not_keep_others_waiting(models, lm):
    long = " ".join(WORDS * 300)

    async def body(service, client):
        order = []

        async def ask(path, name, **request):
            assert (await client.post(path, json=request)).status_code == 200
            order.append(name)

        slow = [
            asyncio.create_task(ask("/score", "score", texts=[long])),
            asyncio.create_task(ask("/surprisal", "surprisal", sentences=[long])),
        ]
        # both are in work
        while service.engine.unfinished < 2:
            await asyncio.sleep(0)
        await ask("/next", "next", text="ant")
        await asyncio.gather(*slow)
        return order

    assert with_server(models, body)[0] == "next"


def test_the_texts_of_a_long_request_are_scored_as_alone(models, lm):
    long = " ".join(WORDS * 300)

    async def body(service, client):
        return (await client.post("/score", json={"texts": [long]})).json()["scores"][0]["nats"]

    assert with_server(models, body) == pytest.approx(lm.score(long).nats, rel=1e-6)


def test_a_state_is_not_changed_by_a_request_that_fails(models):
    async def body(service, client):
        opened = (await client.post("/sessions", json={"count": 0})).json()["session"]
        path = f"/sessions/{opened}/read"
        before = (await client.post(path, json={"text": "ant"})).json()
        service.engine._limits = Limits(waiting=0)
        assert (await client.post(path, json={"text": "bee cat dog eel fox"})).status_code == 429
        service.engine._limits = Limits()
        after = (await client.post(path, json={"text": ""})).json()
        assert after["tokens"] == 1 and after["candidates"] == before["candidates"]

    with_server(models, body)


async def vanishing(app, path, request, after):
    """Call the application as a client that is gone after some parts of the answer."""
    sent = []
    gone = asyncio.Event()
    bodies = [{"type": "http.request", "body": json.dumps(request).encode(), "more_body": False}]

    async def receive():
        if bodies:
            return bodies.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)
        if len(sent) > after:
            gone.set()

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "method": "POST", "path": path}
    scope |= {"headers": headers, "query_string": b"", "scheme": "http", "http_version": "1.1", "raw_path": b""}
    if after < 0:
        gone.set()
    await app(scope, receive, send)
    return sent


@pytest.mark.parametrize(
    ("path", "more", "after"),
    [
        ("/generate", {"tokens": 2000, "stream": True}, 3),
        ("/generate", {"tokens": 2000}, -1),
        ("/v1/completions", {"model": "words", "max_tokens": 2000, "stream": True}, 3),
        ("/v1/completions", {"model": "words", "max_tokens": 2000}, -1),
    ],
)
def test_the_work_for_a_client_that_is_gone_ends(models, path, more, after):
    async def body(service, client):
        sent = await vanishing(application(service), path, more, after)
        assert len(sent) < 500
        while service.engine.unfinished:
            await asyncio.sleep(0.01)
        assert service.engine.steps < 1500
        assert (await client.post("/next", json={"text": "ant"})).status_code == 200

    with_server(models, body)


def test_what_is_in_work_when_the_server_stops_is_refused(models):
    async def body(service, client):
        stream = client.post("/generate", json={"tokens": 2000, "stream": True})
        whole = client.post("/generate", json={"tokens": 2000})
        tasks = [asyncio.create_task(stream), asyncio.create_task(whole)]
        while service.engine.steps < 3:
            await asyncio.sleep(0)
        service.stop()
        streamed, refused = await asyncio.gather(*tasks)
        assert '"code": "stopping"' in streamed.text.split("event: error\n")[1]
        assert refused.status_code == 503 and refused.json()["error"]["code"] == "stopping"
        assert (await client.post("/next", json={})).status_code == 503

    with_server(models, body)
    assert not [thread for thread in threading.enumerate() if thread.name == "model" and not _ends(thread)]


def _ends(thread):
    thread.join(10)
    return not thread.is_alive()


def test_taggers_and_models_are_served_side_by_side(trained):
    models = Models([serve_model("a", trained["names"]), serve_model("b", trained["words"])])

    async def body(service, client):
        requests = [client.post("/tag", json={"sentences": [["the", "dogs"]] * count}) for count in range(1, 20)]
        requests += [client.post("/next", json={"text": "ant"}) for _ in range(10)]
        found = await asyncio.gather(*requests)
        assert [len(each.json()["sentences"]) for each in found[:19]] == list(range(1, 20))
        assert {each.json()["model"] for each in found[19:]} == {"b"}

    with_server(models, body)
