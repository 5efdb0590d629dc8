"""Each operation answers what the library computes, in the form that the document promises."""

import dataclasses
import json
import math

import pytest
import torch

from refrain.evaluation.nbest import Hypothesis, NBest, rescore
from refrain.serve.operations import OPERATIONS

TEXTS = ["ant bee", "cat dog cat eel\nfox", "", "ant zebra"]


def asked(client, path, **request):
    """The answer to a request, which has the form of its operation."""
    response = client.post(path, json=request)
    assert response.status_code == 200, response.text
    operation = next(each for each in OPERATIONS if each.path == path and each.method == "POST")
    operation.answer.model_validate_json(response.content)
    return response.json()


def near(found):
    return pytest.approx(found, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("model", ["words", "bytes"])
def test_scores(client, trained, model):
    found = asked(client, "/score", model=model, texts=TEXTS)
    assert found["model"] == model
    for row, score in zip(found["scores"], trained[model].score(TEXTS), strict=True):
        assert row["nats"] == near(score.nats)
        assert row["perplexity"] == near(score.perplexity)
        assert (row["tokens"], row["unknown"]) == (score.tokens, score.unknown)


def test_the_best_of_a_list(client, lm):
    texts = {"ant bee": -1.0, "bee ant": -1.5, "cat": -2.0}
    hypotheses = [{"text": text, "score": score} for text, score in texts.items()]
    found = asked(client, "/nbest", lists=[{"id": "u", "hypotheses": hypotheses}], lm_scale=0.7)
    (rescored,) = rescore(lm.model, lm.vocabulary, [NBest("u", [Hypothesis(*each) for each in texts.items()])])
    (nbest,) = found["lists"]
    assert nbest["best"] == rescored.best(0.7) and nbest["text"] == list(texts)[nbest["best"]]
    assert [row["total"] for row in nbest["hypotheses"]] == near([rescored.total(index, 0.7) for index in range(3)])


@pytest.mark.parametrize("context", ["sentence", "document"])
def test_surprisal(client, lm, context):
    sentences = ["ant bee zebra", "cat dog"]
    found = asked(client, "/surprisal", sentences=sentences, context=context, after="eel")["words"]
    expected = [row._asdict() for row in lm.surprisal(sentences, context=context, after="eel")]
    assert [row.keys() for row in found] == [row.keys() for row in expected]
    for row, other in zip(found, expected, strict=True):
        assert row == {name: near(value) if isinstance(value, float) else value for name, value in other.items()}


def log_probabilities(lm, ids):
    state = lm.initial_state()
    for index in [lm.vocabulary.line_end, *ids]:
        row, state = lm.step(torch.tensor([index]), state)
    return row[0]


@pytest.mark.parametrize("text", ["", "ant", "ant bee cat dog eel fox ant"])
def test_candidates(client, lm, text):
    found = asked(client, "/next", text=text, count=3)
    best = log_probabilities(lm, lm.vocabulary.encode(text)).topk(3)
    assert [each["id"] for each in found["candidates"]] == best.indices.tolist()
    assert [each["log_probability"] for each in found["candidates"]] == near(best.values.tolist())
    for each in found["candidates"]:
        assert each["probability"] == near(math.exp(each["log_probability"]))
        assert lm.vocabulary.encode(text + each["text"]) == [*lm.vocabulary.encode(text), each["id"]]


def test_candidates_that_begin_with_letters_and_without_the_unknown_word(client, lm):
    found = asked(client, "/next", text="ant", count=100, beginning="e")
    assert [each["token"] for each in found["candidates"]] == ["eel"]
    assert asked(client, "/next", text="ant", beginning="zz")["candidates"] == []
    every = asked(client, "/next", text="ant", count=100)["candidates"]
    known = asked(client, "/next", text="ant", count=100, allow_unknown=False)["candidates"]
    assert len(every) == len(lm.vocabulary) == len(known) + 1
    assert [each for each in every if each["token"] != "<unk>"] == known


def test_a_blank_is_the_beginning_of_a_blank(models):
    size = len(models.language_model("bytes").vocabulary)
    model = models.language_model("bytes")
    for letters, ids in ((" ", [32]), ("\\", [92]), ("a", [97])):
        assert [each.token_id for each in model.candidates(torch.zeros(size), 9, beginning=letters)] == ids


@pytest.mark.parametrize("prompt", ["", "ant\n", "ant", "ant "])
def test_the_text_of_alternatives_is_that_of_the_token_there(client, prompt):
    (sample,) = asked(client, "/generate", prompt=prompt, tokens=8, temperature=0, alternatives=1)["samples"]
    for token in sample["tokens"]:
        assert token["alternatives"][0]["text"] == token["text"] and token["alternatives"][0]["id"] == token["id"]


@pytest.mark.parametrize("word", ["", "a\nb", "a\tb"])
def test_words_that_no_sentence_has_are_refused(client, word):
    response = client.post("/tag", json={"sentences": [["ant", word]]})
    assert response.status_code == 422 and "a word must have no tabs or line ends and not be empty" in response.text


def test_a_session_reads_as_a_text_is_read(client, lm):
    opened = asked(client, "/sessions", count=2)
    assert opened["candidates"] == asked(client, "/next", count=2)["candidates"]
    path, text = f"/sessions/{opened['session']}", ""
    ids = []
    for piece in ["ant", " bee cat", "", " dog eel fox ant bee cat", " zebra"]:
        score = len(ids) % 2 == 1
        found = client.post(f"{path}/read", json={"text": piece, "count": 3, "score": score}).json()
        new = lm.vocabulary.encode(piece)
        rows = [log_probabilities(lm, [*ids, *new[:number]]) for number in range(len(new) + 1)]
        ids += new
        text += piece
        assert found["tokens"] == len(ids)
        assert [each["id"] for each in found["read"]] == new
        expected = [near(float(row[index])) if score else None for row, index in zip(rows, new, strict=False)]
        assert [each["log_probability"] for each in found["read"]] == expected
        assert [each["unknown"] for each in found["read"]] == [index == lm.vocabulary.unknown for index in new]
        expected = asked(client, "/next", text=text, count=3)["candidates"]
        assert [each["id"] for each in found["candidates"]] == [each["id"] for each in expected]
        assert [each["log_probability"] for each in found["candidates"]] == near(
            [each["log_probability"] for each in expected]
        )
    assert client.get(path).json()["tokens"] == len(ids)
    assert client.delete(path).json() == {"session": opened["session"], "closed": True}
    assert client.delete(path).status_code == client.get(path).status_code == 404


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"samples": 3},
        {"temperature": 0},
        {"top_k": 2, "top_p": 0.9, "temperature": 0.7},
        {"stop_at_line_end": True, "allow_unknown": False},
        {"model": "bytes", "samples": 2},
    ],
)
def test_generated_texts(client, trained, options):
    request = {"prompt": "ant bee", "tokens": 12, "seed": 3, **options}
    found = asked(client, "/generate", **request)
    lm = trained[request.pop("model", "words")]
    assert [request["prompt"] + each["text"] for each in found["samples"]] == lm.generate(**request)
    for sample in found["samples"]:
        assert sample["text"] == "".join(token["text"] for token in sample["tokens"])
        ids = lm.vocabulary.encode(request["prompt"])
        for token in sample["tokens"]:
            assert token["log_probability"] == near(float(log_probabilities(lm, ids)[token["id"]]))
            ids.append(token["id"])
        ended = len(sample["tokens"]) < 12
        assert sample["finish_reason"] == ("line-end" if ended else "length")


def test_a_text_with_a_held_unit_and_alternatives(client, lm):
    request = {"prompt": "ant", "tokens": 6, "seed": 1, "clamp": [{"unit": 2, "value": 3.0}], "alternatives": 2}
    (sample,) = asked(client, "/generate", **request)["samples"]
    clamped = lm.generate("ant", tokens=6, seed=1, clamp={2: 3.0})
    assert [f"ant{sample['text']}"] == clamped
    assert all(len(token["alternatives"]) == 2 for token in sample["tokens"])
    free = asked(client, "/generate", **{**request, "clamp": []})["samples"][0]
    assert free["tokens"][0]["log_probability"] != sample["tokens"][0]["log_probability"]


def test_an_unseeded_text_can_be_drawn_again(client):
    found = asked(client, "/generate", tokens=5)
    assert asked(client, "/generate", tokens=5, seed=found["seed"])["samples"] == found["samples"]


def test_a_stream_has_the_tokens_of_the_text(client):
    request = {"prompt": "ant", "tokens": 7, "seed": 2, "samples": 2}
    whole = asked(client, "/generate", **request)
    response = client.post("/generate", json={**request, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [event.split("\n") for event in response.text.removesuffix("\n\n").split("\n\n")]
    assert [name for name, _ in events] == ["event: token"] * 14 + ["event: end"]
    values = [json.loads(data.removeprefix("data: ")) for _, data in events]
    assert values[-1] == whole
    for number, sample in enumerate(whole["samples"]):
        assert [value for value in values[:-1] if value["sample"] == number] == sample["tokens"]


def test_values_of_units(client, lm):
    found = asked(client, "/units", text="ant bee cat", units=[3, 1])
    traces = lm.features("ant bee cat", units=[3, 1]).traces[0]
    assert found["values"] == [near(row) for row in traces.tolist()]
    assert found["tokens"] == ["ant", "bee", "cat"]


def test_tags(client, trained):
    text = "the dogs barking. a cat"
    found = asked(client, "/tag", text=text, probabilities=True)["sentences"]
    words = [[word["word"] for word in sentence] for sentence in found]
    expected = trained["names"].tag_with_probabilities(words)
    assert words == [[word for word, _ in sentence] for sentence in trained["names"].tag_text(text)]
    for sentence, tags in zip(found, expected, strict=True):
        assert [(word["tag"], word["probability"]) for word in sentence] == [(tag, near(share)) for tag, share in tags]
    again = asked(client, "/tag", sentences=[*words, []])["sentences"]
    assert again == [[{**word, "probability": None} for word in sentence] for sentence in [*found, []]]


def test_what_is_served(client, trained):
    found = client.get("/models").json()["models"]
    assert [(each["name"], each["kind"]) for each in found] == [
        ("words", "language-model"),
        ("bytes", "language-model"),
        ("names", "tagger"),
    ]
    assert found[0]["vocabulary"] == len(trained["words"].vocabulary) and found[2]["tags"]
    assert [each["id"] for each in client.get("/v1/models").json()["data"]] == ["words", "bytes"]
    assert client.get("/health").json()["status"] == "ok"


def test_metrics(client):
    asked(client, "/next", text="ant")
    client.post("/next", json={"text": 1})
    lines = client.get("/metrics").text.splitlines()
    assert 'refrain_requests_total{operation="next",status="200"} 1' in lines
    assert 'refrain_requests_total{operation="next",status="422"} 1' in lines
    assert 'refrain_request_seconds_bucket{operation="next",le="+Inf"} 2' in lines
    assert "refrain_requests_in_work 0" in lines
    named = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    for line in lines:
        if not line.startswith("#"):
            name = line.split("{")[0].split()[0]
            assert {name, name.rsplit("_", 1)[0]} & named
            float(line.rsplit(" ", 1)[1])


def test_the_page_allows_nothing_from_elsewhere(client):
    response = client.get("/")
    assert response.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert "unsafe" not in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"
    for link in {part.split('"')[0] for part in response.text.split('href="')[1:]}:
        assert client.get(link).status_code == 200, link
    assert client.get("/page/../http.py").status_code == client.get("/page/gone.js").status_code == 404


def test_the_limits_are_all_options(served):
    from refrain.cli.serve import serve
    from refrain.serve import Limits

    options = {name for name in serve.__annotations__ if name.startswith("max_") or name.endswith("_seconds")}
    assert {name.removeprefix("max_") for name in options} == {each.name for each in dataclasses.fields(Limits)}
