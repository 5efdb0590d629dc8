"""The requests of the page about serving are answered."""

import json
import pathlib
import re

import pytest

from refrain.serve import Models, serve_model

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "serving.md"
EXAMPLE = re.compile(r"^curl http://127\.0\.0\.1:8000(\S+) (?:-X (\w+)|-H '([^']*)' -d '([^']*)')$", re.MULTILINE)


def test_every_example_of_the_page_is_answered(served, trained):
    examples = EXAMPLE.findall(PAGE.read_text(encoding="utf-8"))
    assert len(examples) == PAGE.read_text(encoding="utf-8").count("curl ") > 8
    models = Models([serve_model("small", trained["words"]), serve_model("tagger", trained["names"])])
    session = None
    with served(models) as (_, client):
        for path, method, header, body in examples:
            headers = dict([header.split(": ")]) if header else {}
            path = path.replace("SESSION", session or "")
            response = client.request(method or "POST", path, content=body, headers=headers)
            assert response.status_code == 200, (path, body, response.text)
            session = response.json().get("session", session)
        assert session is not None


@pytest.mark.parametrize("option", re.findall(r"`(--[a-z-]+)", PAGE.read_text(encoding="utf-8")))
def test_every_option_of_the_page_exists(option):
    from refrain.cli.serve import serve

    names = {f"--{name.replace('_', '-')}" for name in serve.__annotations__}
    # of commands that are compared with the server
    assert option in names | {"--nbest", "--seed"}


def test_answers_of_the_page_are_json():
    blocks = re.findall(r"```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in re.split(r"\n(?=\{)", block.strip())]
    assert len(lines) >= 8
    for line in lines:
        whole = re.sub(r", \.\.\.(?=[\]}])", "", line).replace("[...]", "[]")
        json.loads(whole)
