"""The page of the server in a headless browser, by clicking and typing."""

import contextlib
import json
import statistics
import threading

import pytest

pytest.importorskip("uvicorn")

import uvicorn

from refrain.serve import Limits, Service, application, listen
from refrain.serve.starting import url_of

pytestmark = pytest.mark.browser

MARKUP = '<img src=x onerror="window.broken=1"> \u202eant'
TOKEN = "a token of this test".replace(" ", "-")


@contextlib.contextmanager
def listening(models, token=None):
    """A server in a thread of this process: its address."""
    opened = listen("127.0.0.1", 0)
    app = application(Service(models, Limits()), token=token)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, log_level="critical", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]}, daemon=True)
    thread.start()
    try:
        yield url_of(opened)
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def address(models):
    with listening(models) as address:
        yield address


class Opened:
    """The page in the browser, by selectors of CSS."""

    def __init__(self, page):
        self.page = page

    def run(self, script):
        return self.page.run(script)

    def wait(self, script):
        self.page.wait(lambda: self.page.run(script))

    def texts(self, selector):
        return self.run(f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.textContent)")

    def click(self, selector):
        script = """(() => {
          const found = document.querySelector(SELECTOR);
          found.scrollIntoView({block: 'center'});
          const {x, y, width, height} = found.getBoundingClientRect();
          return [x + width / 2, y + height / 2];
        })()"""
        self.page.click(*self.run(script.replace("SELECTOR", json.dumps(selector))))

    def fill(self, selector, value):
        """Give a field a value, as if it were typed or chosen."""
        self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.value = {json.dumps(value)};"
            "for (const name of ['input', 'change']) e.dispatchEvent(new Event(name, {bubbles: true})) })()"
        )

    def type(self, text):
        self.click("#text")
        self.page.type(text)


@pytest.fixture
def page(browser_page, address):
    """The page, once it is usable. Nothing may be logged as an error, and nothing asked for elsewhere."""
    browser_page.size(1100, 900)
    browser_page.visit(address + "/")
    opened = Opened(browser_page)
    opened.wait("document.querySelectorAll('.candidates li').length > 1")
    yield opened
    assert browser_page.errors == []
    assert not [each for each in browser_page.requests if not each.startswith(f"{address}/")]
    assert opened.run("window.broken") is None


def test_typing(page, client):
    page.type("ant be")
    page.wait("document.querySelector('.candidates .word').textContent === 'bee'")
    page.page.press("Tab")
    page.wait("document.getElementById('text').value === 'ant bee '")
    asked = {"text": "ant bee ", "count": 8, "allow_unknown": False}
    candidates = client.post("/next", json=asked).json()["candidates"]
    words = [each["text"].replace("\n", "\u21b5 line end") for each in candidates]
    page.wait(
        f"[...document.querySelectorAll('.candidates .word')].map(e => e.textContent).join() === '{','.join(words)}'"
    )
    shown = [float(text.rstrip("%")) for text in page.texts(".candidates .number")]
    assert shown == pytest.approx([100 * each["probability"] for each in candidates], abs=0.05)
    page.click(".candidates li:nth-child(2) button")
    page.wait(
        f"document.getElementById('text').value === {json.dumps('ant bee ' + candidates[1]['text'])}.trimEnd() + ' '"
    )
    # as it was before, by the browser's own undo
    page.run("document.execCommand('undo')")
    assert page.run("document.getElementById('text').value") == "ant bee "
    page.page.press("Escape")
    assert page.texts("#hint") == ["Tab leaves the field; type to get candidates again."]
    page.wait("document.getElementById('spoken').textContent.startsWith('Next: ')")


def test_surprisal(page, client):
    page.type("cat zzz")
    page.wait("document.querySelectorAll('#surprisal .cell').length === 2")
    asked = {"sentences": ["cat zzz"], "context": "document"}
    words = client.post("/surprisal", json=asked).json()["words"]
    assert page.texts("#surprisal .cell .number") == [f"{word['surprisal_bits']:.1f}" for word in words]
    assert page.texts("#surprisal .unknown") == ["zzz"]
    page.run("document.querySelector('#surprisal .cell').focus()")
    page.page.press("ArrowRight")
    (line,) = page.texts("#surprisal .inspector")
    assert line.startswith("\u201czzz\u201d: ") and "not in the vocabulary" in line


def test_generating(page, client):
    page.type(MARKUP)
    page.fill("#tokens", "300")
    page.fill("#seed", "7")
    page.fill("#temperature", "0.5")
    page.fill("#top-p", "0.9")
    page.fill("#held-unit", "3")
    page.fill("#held-value", "2")
    page.run(
        "window.parts = []; new MutationObserver(() => parts.push(document.getElementById('stop').hidden))"
        ".observe(document.querySelector('#generate .columns'), {subtree: true, childList: true})"
    )
    page.click("#start")
    page.wait("document.querySelector('#generate .status')?.textContent.startsWith('300 tokens')")
    # tokens were shown as they came, before the end
    assert page.run("parts.length > 3 && !parts.some(hidden => hidden)")
    asked = {
        "tokens": 300,
        "seed": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "clamp": [{"unit": 3, "layer": 0, "value": 2.0}],
    }
    asked |= {"prompt": MARKUP, "allow_unknown": False}
    text = client.post("/generate", json=asked).json()["samples"][0]["text"]
    assert "".join(page.texts("#generate .token")).replace("\u21b5", "") == text
    assert page.texts("#generate .generated > .soft") == [MARKUP.replace("\u202e", "<U+202E>")]
    page.run("document.querySelector('#generate .token').focus()")
    page.page.press("End")
    assert len(page.texts("#generate .ranking li")) == 5
    page.click("#generate .status button")
    assert page.run("document.getElementById('text').value") == MARKUP + text


def test_a_unit_is_held_in_one_of_two_models(page, client):
    assert page.run("document.getElementById('held-model-field').hidden")
    page.fill("#beside", "bytes")
    page.fill("#seed", "7")
    page.fill("#held-unit", "3")
    page.fill("#held-value", "5")
    layers = {each["name"]: each["hidden_sizes"] for each in client.get("/models").json()["models"]}
    for tokens, holding in ((20, "words"), (21, "bytes")):
        page.fill("#tokens", str(tokens))
        page.fill("#held-model", holding)
        assert page.run("document.querySelectorAll('#held-layer option').length") == 1 + len(layers[holding])
        page.click("#start")
        page.wait(
            "[...document.querySelectorAll('#generate .status')]"
            f".filter(e => e.textContent.startsWith('{tokens} tokens')).length === 2"
        )
        for place, model in enumerate(["words", "bytes"]):
            asked = {"tokens": tokens, "seed": 7, "temperature": 0.8, "top_p": 0.95, "allow_unknown": False}
            asked |= {"model": model, "clamp": [{"unit": 3, "value": 5.0}] if model == holding else []}
            (sample,) = client.post("/generate", json=asked).json()["samples"]
            shown = page.texts(f"#generate .column:nth-child({place + 1}) .token")
            assert [text.rstrip("\n") for text in shown] == [
                "\u21b5" if each["text"] == "\n" else each["text"] or "\u00b7" for each in sample["tokens"]
            ]


def test_stopping(page):
    page.fill("#tokens", "2000")
    page.run("document.getElementById('start').click(); setTimeout(() => document.getElementById('stop').click())")
    page.wait("document.querySelector('#generate .status')?.textContent.endsWith('then stopped.')")
    assert page.texts("#generate .error") == [""]


def test_units_and_two_models(page, client):
    page.fill("#beside", "bytes")
    page.type("ant b")
    page.fill("#unit-numbers", "5, 0")
    page.wait("[...document.querySelectorAll('#units h4')].map(e => e.textContent.split(' ')[1]).join() === '5,0,5,0'")
    for place, model in enumerate(["words", "bytes"]):
        values = client.post("/units", json={"text": "ant b", "units": [5], "model": model}).json()["values"]
        own = [value for (value,) in values]
        shown = f"{min(own):.2f} to {max(own):.2f}".replace("-", "\u2212")
        assert page.texts("#units .unit .number")[2 * place] == shown
    values = client.post("/units", json={"text": "ant b", "units": list(range(8))}).json()["values"]
    spreads = [statistics.pvariance(column) for column in zip(*values, strict=True)]
    most = sorted(range(8), key=spreads.__getitem__, reverse=True)[:3]
    page.click("#find")
    page.wait(f"document.getElementById('unit-numbers').value === '{', '.join(map(str, most))}'")
    assert page.texts("#candidates h3") == page.texts("#surprisal h3") == ["words", "bytes"]
    # on a phone nothing is wider than the window
    page.page.size(390, 800)
    assert page.run("document.documentElement.scrollWidth") == 390
    # the candidates of the model of bytes follow the text, those of the model of words begin with the letter
    page.wait("document.querySelectorAll('.candidates').length === 2")
    assert page.texts(".column:first-child .candidates .word") == ["bee"]


def test_tagging(page, client):
    page.fill("#model", "names")
    page.type("Ada <b>Lovelace</b>")
    tags = client.post("/tag", json={"text": "Ada <b>Lovelace</b>"}).json()["sentences"][0]
    page.wait(f"document.querySelectorAll('#tags .cell').length === {len(tags)}")
    assert page.texts("#tags .word") == [each["word"] for each in tags]
    assert page.texts("#tags .number") == [each["tag"].replace("O", "\u00a0") for each in tags]
    assert page.run("[...document.querySelectorAll('main > section:not([hidden])')].map(e => e.id)") == [
        "write",
        "tags",
    ]


def test_errors_are_lines(page, client):
    page.fill("#text", "ant \u0007 ")
    message = client.post("/next", json={"text": "ant \u0007 "}).json()["error"]["message"]
    page.wait("document.querySelector('#candidates .error').textContent !== ''")
    assert page.texts("#candidates .error") == [message]
    # the console has a line for each request that was refused, and no other
    page.wait("(document.querySelector('#units .error')?.textContent ?? '') !== ''")
    assert all("422" in each for each in page.page.errors)
    page.page.errors.clear()
    page.fill("#text", "ant")
    page.wait("document.querySelectorAll('.candidates li').length > 0")
    assert page.texts("#candidates .error") == [""]


def test_token(browser_page, models):
    with listening(models, TOKEN) as address:
        browser_page.visit(address + "/")
        page = Opened(browser_page)
        page.wait("!document.getElementById('token-form').hidden")
        assert page.texts("#page-error")[0].startswith("a token is needed; ")
        browser_page.type("wrong")
        page.click("#token-form button")
        page.wait("document.getElementById('page-error').textContent.startsWith('the token is wrong')")
        browser_page.type(TOKEN)
        page.click("#token-form button")
        page.wait("document.querySelectorAll('.candidates li').length > 1")
        assert page.run("document.getElementById('token').value + localStorage.length + sessionStorage.length") == "00"
