"""The page of the server: its structure, its policy and its colours."""

import itertools
import re
from html.parser import HTMLParser

import pytest

from refrain.data.units.protocol import fitted
from refrain.serve import Models, serve_model

POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
FIELDS = {"input", "select", "textarea"}
# ways by which a text could become markup, or what is typed could be kept
FORBIDDEN = (
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|srcdoc|"
    r"\beval\b|Function\(|Storage|cookie"
)
HEAT = [f"h{level}" for level in range(8)]
UNITS = [f"{sign}{level}" for sign in "np" for level in range(1, 5)]
TAGS = [f"t{colour}" for colour in range(12)]
# the least contrast of WCAG 2.2, level AA: of text 4.5, of the borders of fields, the focus and what is drawn 3
PAIRS = {
    **{("ink", ground): 4.5 for ground in ["ground", "raised", "picked", *HEAT, *UNITS, *TAGS]},
    **{(text, ground): 4.5 for text in ["soft", "accent", "error"] for ground in ["ground", "raised"]},
    ("on-accent", "accent"): 4.5,
    ("edge", "raised"): 3.0,
    ("bar", "raised"): 3.0,
    ("bar", "picked"): 3.0,
}
DECORATION = {"line"}


class Elements(HTMLParser):
    """The elements of a page as (name, attributes)."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data):
        if self.found and self.found[-1][0] in ("script", "style"):
            assert not data.strip(), "the policy allows nothing inline"

    def of(self, *names):
        return [attributes for tag, attributes in self.found if tag in names]


@pytest.fixture
def page(client):
    return Elements(client.get("/").text)


@pytest.fixture
def files(client, page):
    """What the page loads, by its address."""
    addresses = {each.get("src") or each.get("href") for each in page.of("script", "link")}
    return {address: client.get(address) for address in addresses}


def test_everything_is_from_this_server(client, page, files):
    answers = {"/": client.get("/"), **files}
    for address, answer in answers.items():
        assert answer.status_code == 200, address
        assert answer.headers["content-security-policy"].startswith(POLICY)
        elsewhere = set(re.findall(r"\b(?:https?:)?//[\w.]+", answer.text)) - {"http://www.w3.org"}
        assert not [each for each in elsewhere if "://" in each], address
        kinds = {"/": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
        assert answer.headers["content-type"].startswith(kinds[address.rpartition(".")[2]])
    # every module is loaded with the first, so that no chain of requests delays the page
    imports = {name for answer in answers.values() for name in re.findall(r'from "\./(\w+\.js)"', answer.text)}
    assert imports == {address.removeprefix("/page/") for address in files if address.endswith(".js")} - {"page.js"}


def test_nothing_inline(page):
    for tag, attributes in page.found:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag


def test_every_field_has_a_label(page):
    ids = [attributes["id"] for _, attributes in page.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    labelled = [label["for"] for label in page.of("label")]
    fields = [field["id"] for field in page.of(*FIELDS)]
    assert sorted(labelled) == sorted(fields)
    named = [attributes["aria-labelledby"] for attributes in page.of("section")]
    assert set(named) <= set(ids)
    assert dict(page.found)["html"]["lang"] == "en"
    live = {
        attributes["id"]
        for _, attributes in page.found
        if attributes.get("aria-live") or attributes.get("role") == "alert"
    }
    assert live == {"spoken", "page-error"}


def test_scripts_write_texts_only(page, files):
    ids = {attributes["id"] for _, attributes in page.found if "id" in attributes}
    for address, answer in files.items():
        assert not re.findall(FORBIDDEN, answer.text), address
        assert set(re.findall(r'\bget\("([^"]+)"\)', answer.text)) <= ids, address


def colours(text):
    """The colours of a rule by their names, as three numbers."""
    found = re.findall(r"--([\w-]+): #(\w{6})\b", text)
    return {name: [int(value[index : index + 2], 16) / 255 for index in (0, 2, 4)] for name, value in found}


def luminance(colour):
    """The relative luminance of WCAG 2.2."""
    red, green, blue = (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    light, dark = sorted([luminance(one), luminance(other)], reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_of_known_colours():
    assert contrast([0, 0, 0], [1, 1, 1]) == pytest.approx(21)
    # #767676 is the lightest grey that is legible on white
    assert contrast([0x76 / 255] * 3, [1, 1, 1]) == pytest.approx(4.54, abs=0.005)


def test_colours_have_contrast(client):
    text = client.get("/page/style.css").text
    light, dark = text.split("@media (prefers-color-scheme: dark)", 1)
    for rule in (light, dark.partition("* {")[0]):
        found = colours(rule)
        # a colour that is added is compared as well
        assert set(found) == set(itertools.chain(*PAIRS)) | DECORATION
        low = {pair: round(contrast(*(found[name] for name in pair)), 2) for pair in PAIRS}
        assert not {pair: value for pair, value in low.items() if value < PAIRS[pair]}
    # no colour is outside the two rules
    assert not re.findall(r"#[0-9a-f]{3,8}\b(?![^{}]*\})", dark.partition("* {")[2])


def test_the_page_needs_no_token(served):
    with served(token="t" * 20) as (_, client):
        assert client.get("/").status_code == client.get("/page/page.js").status_code == 200
        assert client.get("/models").status_code == 401


def test_units_with_the_text_of_each_token(client):
    found = client.post("/units", json={"text": "ant <b>\nbee", "units": [0]}).json()
    assert found["pieces"] == ["ant ", "<b> ", "\n", "bee "]
    found = client.post("/units", json={"text": "é b", "units": [0], "model": "bytes"}).json()
    assert found["pieces"] == ["", "é", " ", "b"]
    assert len(found["values"]) == len(found["tokens"]) == 4
    assert client.post("/units", json={"text": "", "units": [0]}).json()["pieces"] == []


def test_layers_of_models(client):
    models = {each["name"]: each["hidden_sizes"] for each in client.get("/models").json()["models"]}
    assert models == {"words": [8], "bytes": [8], "names": None}


def test_letters_are_prepared_as_texts_are(served, lm):
    model = serve_model("words", lm)
    model.vocabulary = fitted(model.vocabulary, lowercase=True, tokenise=False)
    with served(of=Models([model])) as (_, client):
        found = client.post("/next", json={"text": "Ant ", "beginning": "Be"}).json()
        assert found["unknown"] == 0
        assert [each["token"] for each in found["candidates"]] == ["bee"]
