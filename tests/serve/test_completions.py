"""The interface of OpenAI: what its clients send, and what they read from the answer."""

import json

import pytest
import torch

from refrain.serve.completions import CompletionAnswer


def complete(client, **request):
    response = client.post("/v1/completions", json={"model": "words", **request})
    assert response.status_code == 200, response.text
    CompletionAnswer.model_validate_json(response.content)
    return response.json()


def token_log_probabilities(lm, text):
    ids = lm.vocabulary.encode(text)
    state, found, best = lm.initial_state(), [], []
    for index, following in zip([lm.vocabulary.line_end, *ids], ids, strict=False):
        row, state = lm.step(torch.tensor([index]), state)
        found.append(float(row[0, following]))
        best.append(lm.vocabulary.token(int(row[0].argmax())))
    return found, best


def test_echo_with_logprobs_scores_a_prompt(client, lm):
    """As evaluation harnesses ask for it: the last token is one that was drawn, and is left out."""
    text = "ant bee cat dog eel fox ant"
    prompts = [text, lm.vocabulary.encode(text)]
    for prompt in prompts:
        found = complete(client, prompt=prompt, echo=True, max_tokens=1, logprobs=1, temperature=0, seed=1234)
        (choice,) = found["choices"]
        logprobs = choice["logprobs"]
        expected, best = token_log_probabilities(lm, text)
        assert logprobs["token_logprobs"][:-1] == pytest.approx(expected, rel=1e-5)
        assert [max(top, key=top.get) for top in logprobs["top_logprobs"][:-1]] == best
        assert logprobs["tokens"][:-1] == text.split()
        assert [choice["text"][offset:].split(" ")[0] for offset in logprobs["text_offset"][:-1]] == text.split()
        assert choice["text"].startswith(text) and len(logprobs["tokens"]) == len(text.split()) + 1
        assert found["usage"] == {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8}


@pytest.mark.parametrize(
    ("text", "offsets"), [("ant\nbee", [0, 3, 4]), ("  ant \n", [2, 6]), ("ant \t bee  cat ", [0, 6, 11])]
)
def test_offsets_are_those_of_the_prompt_as_it_is_spelled(client, text, offsets):
    (choice,) = complete(client, prompt=text, echo=True, max_tokens=1, logprobs=0, seed=1)["choices"]
    assert choice["logprobs"]["text_offset"][:-1] == offsets
    drawn = choice["text"][len(text) :]
    assert choice["logprobs"]["text_offset"][-1] == len(text) + len(drawn) - len(drawn.lstrip(" "))


def test_a_prompt_alone_is_scored_without_drawing(client, lm):
    (choice,) = complete(client, prompt="ant bee", echo=True, max_tokens=0, logprobs=0)["choices"]
    assert choice["logprobs"]["token_logprobs"] == pytest.approx(token_log_probabilities(lm, "ant bee")[0], rel=1e-5)
    assert choice["text"] == "ant bee" and choice["logprobs"]["top_logprobs"] is None


def test_texts_are_those_of_the_library(client, lm):
    prompts = ["ant bee", "cat"]
    found = complete(client, prompt=prompts, max_tokens=9, seed=5, n=2, logprobs=2)
    assert [choice["index"] for choice in found["choices"]] == [0, 1, 2, 3]
    texts = [choice["text"] for choice in found["choices"]]
    expected = [
        text
        for number, prompt in enumerate(prompts)
        for text in lm.generate(prompt, tokens=9, samples=2, seed=5 + number)
    ]
    assert [prompts[number // 2] + text for number, text in enumerate(texts)] == expected
    assert {choice["finish_reason"] for choice in found["choices"]} == {"length"}
    assert all(len(choice["logprobs"]["top_logprobs"][0]) == 2 for choice in found["choices"])
    assert found["usage"]["completion_tokens"] == 36


@pytest.mark.parametrize("model", ["words", "bytes"])
def test_a_text_ends_before_what_stops_it(client, trained, model):
    whole = trained[model].generate("ant", tokens=40, seed=7)[0].removeprefix("ant")
    for stop in (whole[5:8], whole[11:13], "never"):
        request = {"model": model, "prompt": "ant", "max_tokens": 40, "seed": 7, "stop": [stop, "zzzz"]}
        (choice,) = complete(client, **request)["choices"]
        assert choice["text"] == whole.split(stop)[0]
        assert choice["finish_reason"] == ("stop" if stop in whole else "length")
        response = client.post("/v1/completions", json={**request, "stream": True})
        *parts, last = [each.removeprefix("data: ") for each in response.text.strip().split("\n\n")]
        assert last == "[DONE]"
        choices = [json.loads(part)["choices"][0] for part in parts]
        assert "".join(each["text"] for each in choices) == choice["text"]
        assert [each["finish_reason"] for each in choices if each["finish_reason"]] == [choice["finish_reason"]]


@pytest.mark.parametrize("echo", [False, True])
def test_offsets_point_at_the_letters_of_tokens(client, echo):
    """Of those of the prompt as of those that were drawn, although the text has blanks before the latter."""
    (choice,) = complete(client, prompt="ant bee cat", echo=echo, max_tokens=30, logprobs=0, seed=3)["choices"]
    tokens, offsets = choice["logprobs"]["tokens"], choice["logprobs"]["text_offset"]
    assert len(tokens) == 30 + 3 * echo
    for token, offset in zip(tokens, offsets, strict=True):
        expected = "\n" if token == "<eos>" else token
        assert choice["text"][offset : offset + len(expected)] == expected


@pytest.mark.parametrize("model", ["words", "bytes"])
def test_what_a_text_drops_has_no_logprobs(client, trained, model):
    whole = trained[model].generate("ant", tokens=40, seed=7)[0].removeprefix("ant")
    ending = next(word for word in whole.split(" ")[2:] if len(word) > 1)
    request = {"model": model, "prompt": "ant", "max_tokens": 40, "seed": 7, "logprobs": 1}
    every = complete(client, **request)["choices"][0]["logprobs"]
    # one that stops at the blank before a token, one at its letters, one inside of it, and one that never comes
    for stop in (f" {ending}", ending, ending[1:], "never"):
        (choice,) = complete(client, **request, stop=stop)["choices"]
        kept = [offset for offset in every["text_offset"] if offset < len(choice["text"])]
        assert len(choice["text"]) < len(whole) or stop == "never"
        for name, values in every.items():
            assert choice["logprobs"][name] == values[: len(kept)], (stop, name)
        response = client.post("/v1/completions", json={**request, "stop": stop, "stream": True})
        parts = [json.loads(each.removeprefix("data: ")) for each in response.text.strip().split("\n\n")[:-1]]
        end, streamed = 0, []
        for part in parts:
            end += len(part["choices"][0]["text"])
            streamed += part["choices"][0]["logprobs"]["text_offset"]
            # no part has a token whose text has not come
            assert all(offset < end for offset in streamed)
        assert streamed == every["text_offset"][: len(kept)]


def test_a_stream_of_several_prompts_and_an_error_in_it(served, late_after):
    request = {"model": "words", "prompt": ["ant", "bee"], "max_tokens": 2, "n": 2, "stream": True}
    with served() as (_, client):
        parts = client.post("/v1/completions", json=request).text.strip().split("\n\n")
        indices = [json.loads(part.removeprefix("data: "))["choices"][0]["index"] for part in parts[:-1]]
        assert set(indices) == {0, 1, 2, 3} and indices == sorted(indices, key=lambda index: index // 2)
    with served() as (service, client):
        late_after(service, 3)
        response = client.post("/v1/completions", json={**request, "max_tokens": 2000})
        assert response.status_code == 200
        *_, error, last = response.text.strip().split("\n\n")
        assert json.loads(error.removeprefix("data: "))["error"]["code"] == "timeout" and last == "data: [DONE]"


def test_fields_of_other_servers_have_no_effect(client):
    request = {"prompt": "ant", "max_tokens": 3, "seed": 1, "top_p": 1, "presence_penalty": 0, "logit_bias": {}}
    assert (
        complete(client, **request, user="me", best_of=1, stream_options=None)["choices"]
        == (complete(client, **request)["choices"])
    )


def test_null_is_the_default(client):
    names = ("max_tokens", "temperature", "top_p", "n", "logprobs", "echo", "stop", "stream", "best_of", "suffix")
    request = {"prompt": "ant", "seed": 1}
    nulls = dict.fromkeys([*names, "presence_penalty", "frequency_penalty", "logit_bias", "user"])
    assert complete(client, **request, **nulls)["choices"] == complete(client, **request)["choices"]
    refused = client.post("/v1/completions", json={"model": None, "prompt": "ant"})
    assert (refused.status_code, refused.json()["error"]["message"].split(";")[0]) == (422, "model: is missing")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"prompt": 3},
            "prompt: should be a string, an array of strings, an array of integers or an array of arrays of integers "
            "(got 3)",
        ),
        ({"prompt": ["a", 3]}, "prompt.1: input should be a valid string (got 3)"),
        ({"prompt": [[1, "a"]]}, "prompt.0.1: input should be a valid integer (got 'a')"),
        ({"prompt": [5, 7, "x"]}, "prompt.2: input should be a valid integer (got 'x')"),
        ({"prompt": [1, 2.5]}, "prompt.1: input should be a valid integer (got 2.5)"),
        ({"prompt": []}, "prompt: list should have at least 1 item after validation, not 0 (got [])"),
        ({"prompt": "a", "stop": 3}, "stop: should be a string or an array of strings (got 3)"),
        ({"prompt": "a", "stop": [""]}, "stop.0: string should have at least 1 character (got '')"),
    ],
)
def test_a_field_of_several_types_has_one_message(client, fields, message):
    refused = client.post("/v1/completions", json={"model": "words", **fields})
    assert refused.status_code == 422
    assert refused.json()["error"]["message"] == f"{message}; /openapi.json describes the fields"


def test_the_samples_of_all_prompts_are_limited_together(served):
    with served(samples=4, rows=50) as (_, client):
        request = {"model": "words", "prompt": ["ant", "bee"], "max_tokens": 2, "n": 2}
        complete(client, **request)
        response = client.post("/v1/completions", json={**request, "n": 3})
        message = response.json()["error"]["message"]
        assert response.status_code == 413 and "at most 4 (got 6)" in message and "larger --max-samples" in message
        for more in ({"max_tokens": 13}, {"logprobs": 6, "max_tokens": 2}, {"logprobs": 4, "echo": True, "n": 2}):
            response = client.post(
                "/v1/completions", json={**request, **more} | {"max_tokens": more.get("max_tokens", 2)}
            )
            assert response.status_code == 422 and "--max-rows" in response.json()["error"]["message"], more


@pytest.mark.parametrize("stream", [False, True])
def test_the_prompts_of_a_request_wait_as_one(served, nothing_in_work, stream):
    request = {"model": "words", "prompt": ["ant"] * 20, "max_tokens": 2, "stream": stream}
    with served(waiting=1) as (service, client):
        response = client.post("/v1/completions", json=request)
        assert response.status_code == 200 and "error" not in response.text
        nothing_in_work(service)
    with served(waiting=0) as (_, client):
        assert client.post("/v1/completions", json=request).status_code == 429
