"""Names and labels of any kind: pictures are drawn, pages are escaped, and no warning is raised."""

import html.parser
import struct
import xml.etree.ElementTree
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from refrain.nn import SparsePlan
from refrain.nn.segments import Block
from refrain.pictures import bench_picture, sparsity_page
from refrain.pictures.canvas import escaped, page_lines, plain_text, printable
from refrain.pictures.confusion import confusion_picture
from refrain.pictures.heat_map import Passage, Piece, Scale, page
from refrain.pictures.layout import layout_picture
from refrain.pictures.probe import heat_map_picture, histogram
from refrain.pictures.sparsity import Curves, parts, png

NAMES = {
    "a formula": "tagged $\\frac$",
    "an open formula": "$ \\frac{ $$ \\$ \\\\$ {",
    "an escape sequence": "a\x1b[31m",
    "control characters": "".join(map(chr, [*range(32), *range(127, 160)])),
    "a script": "<script>alert(1)</script>",
    "the end of an attribute": "\"'><img src=x onerror=alert(1)>&amp;",
    "a very long name": "name" * 5000,
    "missing characters": "漢字 👍 \U0001f1e6\U0001f1f9 \ue000 𒀀 \U00010ffff",
    "lone surrogates": "a\ud800b\udcff",
    "no characters": "\ufffe\uffff\ufdd0",
    "text in the other direction": "\u202eabc\u2066def עברית",
    "separators of lines": "a\nb\r\nc\u2028d\u2029e\x85f",
    "combining marks": "e" + "\u0301" * 300,
    "nothing": "",
    "a blank": " ",
    "a comment": "<!-- -->]]><![CDATA[",
}  # fmt: skip


class Tags(html.parser.HTMLParser):
    """The names of all elements and attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.shown = set(), set(), ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}

    def handle_data(self, data):
        self.shown += data


def check_page(text):
    text.encode("utf-8")
    found = Tags(text)
    assert not found.tags & {"script", "iframe", "link"} and not any(name.startswith("on") for name in found.attributes)
    assert "\x1b" not in text and "\0" not in text and "\u202e" not in text
    return found


def check_png(data):
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert all(100 < side < 20_000 for side in struct.unpack(">2I", data[16:24]))


# a picture takes a second, so that several names are in one
ALL = list(NAMES.values())
TITLE = "".join(name[:40] for name in ALL)


def test_the_picture_of_a_confusion_matrix():
    size = len(ALL)
    check_png(confusion_picture(np.eye(size, dtype=np.int64), ALL, TITLE))
    check_png(confusion_picture(np.array([[1]]), [NAMES["a very long name"]], NAMES["a very long name"]))


def test_the_pictures_of_a_probe():
    scale = Scale(0.5, 2.0, f"label {NAMES['a formula']}", f"label {NAMES['an escape sequence']}")
    check_png(histogram(np.arange(9.0), np.arange(5.0, 14.0), scale, title=TITLE, label=NAMES["a very long name"]))
    passages = [Passage(f"label {name}", [Piece(character, 0.1) for character in name[:30]]) for name in ALL]
    check_png(heat_map_picture(TITLE, passages, scale))


@pytest.mark.parametrize("name", NAMES)
def test_the_page_of_a_probe(name):
    name = NAMES[name]
    scale = Scale(0.5, 2.0, f"label {name}", f"label not {name}")
    passages = [Passage(f"label {name}", [Piece(character, 0.1) for character in name[:300]])]
    found = check_page(page(name, [name], passages, scale))
    assert printable(name[:300]) in found.shown
    assert found.tags <= {*Tags(page_lines("", "", [])).tags, "p", "div", "span", "figure", "figcaption"}


def sparse_parts(name, other):
    shares = torch.full((3, 4, 3), 0.25)
    matrix = SimpleNamespace(name=name, shape=(4, 3), zeros=0.5, copies=(1, 1), widths=(name, other), shares=shares)
    width = SimpleNamespace(name=other, norms=torch.arange(5.0), dead=torch.arange(5) < 2)
    curves = Curves(name, {name: ([1, 2], [3.0, 4.0]), other: ([1, 2], [3.0, 4.0])}, 2, level=3.5)
    return parts([matrix], [width], [curves])


@pytest.mark.parametrize(("name", "other"), [(TITLE, "an open formula"), ("a very long name", "control characters")])
def test_the_picture_of_a_sparse_run(name, other):
    name = NAMES.get(name, name)
    check_png(png(sparse_parts(name, NAMES[other]), title=name))


@pytest.mark.parametrize("name", NAMES)
def test_the_page_of_a_sparse_run(name, monkeypatch):
    monkeypatch.setattr(sparsity_page, "png", lambda shown: b"")
    name = NAMES[name]
    report = {
        "parameters": 10,
        "compact_parameters": 5,
        "widths": {name: {"units": 5, "dead": 2, "left": 3}},
        "tensors": {name: {"shape": [4, 3], "zeros": 0.5, "zero_rows": 1, "zero_columns": None}},
    }
    shown = sparse_parts(name, name)
    found = check_page(sparsity_page.sparsity_page_html(name, report, {"parameters": "parameters"}, shown))
    assert found.shown.count(printable(name)) >= 3
    assert "img" in found.tags and found.attributes <= {"lang", "charset", "name", "content", "class", "alt", "src"}


def test_the_picture_of_a_layout():
    plan = SparsePlan(4, 4, 0.5, (Block(0, 2, 2), Block(2, 4, 2)))
    names = ("an open formula", "an escape sequence", "a very long name")
    check_png(layout_picture([], {NAMES[name]: plan for name in names}, TITLE))


@pytest.mark.parametrize("file_format", ["png", "svg"])
def test_the_picture_of_a_bench(file_format):
    figures = {"ratio": 2.5, "median": 5.0, "low": 4.0, "high": 6.0}
    rows = [{"name": name, "unit": name[:20], **figures} for name in ALL]
    found = bench_picture([{**rows[0], "ratio": 1}, *rows], TITLE, file_format=file_format)
    if file_format == "png":
        check_png(found)
    else:
        # raises where a character is not allowed in XML
        assert xml.etree.ElementTree.fromstring(found).tag.endswith("svg")


def test_texts():
    assert plain_text("a\nb$c" + "d" * 200, 5) == "a·b\\$c…"
    assert escaped("<a\x1b\ud800>") == "&lt;a··&gt;"
