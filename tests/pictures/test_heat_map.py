"""Each character has the background colour of its value, in pictures and pages that need nothing else."""

import html.parser
import re
import struct

import numpy as np
import pytest

from refrain.errors import UserError
from refrain.pictures.canvas import printable
from refrain.pictures.heat_map import Passage, Piece, Scale, page, scale_of
from refrain.pictures.probe import columns_of, heat_map_picture, histogram, wrapped
from refrain.studies.probe_files import pieces

SCALE = Scale(0.5, 2.0, "label 0", "label <1>")
ODD = Passage("label $1 & <b>", [Piece(c, 0.1 * at) for at, c in enumerate("a <b>&\"'$x$ \t\x00\né漢👍 \\frac{")])


def test_a_character_of_several_bytes_takes_the_value_of_its_last():
    texts = ["a", "", "é", "", "", "漢", "\n"]
    assert pieces(texts, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == [("a", 0), ("é", 2), ("漢", 5), ("\n", 6)]


def test_every_token_needs_a_value():
    with pytest.raises(ValueError):
        pieces(["a", "b"], [1.0, 2.0, 3.0])


def test_strengths():
    assert [SCALE.strength(value) for value in (-9, -1.5, -0.5, 0.5, 1.5, 2.5, 9)] == [-1, -1, -0.5, 0, 0.5, 1, 1]


def test_the_scale_passes_over_a_few_extremes():
    values = [*(0.01 * at for at in range(99)), 1000.0]
    scale = scale_of([Passage("", [Piece("x", value) for value in values])], 0.0, "a", "b")
    assert scale == (0.0, pytest.approx(0.98), "a", "b")
    assert scale_of([], 3.0, "a", "b").limit == 1.0
    assert scale_of([Passage("", [Piece("x", 3.0)])], 3.0, "a", "b").limit == 1.0


class Reader(html.parser.HTMLParser):
    """The text of the page's passages, the values beside it, and every tag with its attributes."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.shown, self.values, self.open = [], "", [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img"):
            self.open.append((tag, dict(attrs)))
        if tag == "span" and "data-v" in dict(attrs):
            self.values.append(float(dict(attrs)["data-v"]))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open and "data-v" in self.open[-1][1]:
            self.shown += data


def test_the_page():
    text = page("A <title>", ["a & note"], [ODD, Passage("second", [])], SCALE)
    found = Reader(text)
    assert not found.open
    assert found.shown == printable("".join(piece.text for piece in ODD.pieces))
    assert found.values == pytest.approx([piece.value for piece in ODD.pieces])
    assert "A &lt;title&gt;" in text and "label &lt;1&gt;" in text and "a &amp; note" in text


def test_the_page_needs_nothing_from_elsewhere():
    text = page("t", [], [ODD], SCALE)
    assert not {tag for tag, _ in Reader(text).tags} & {"script", "link", "img", "iframe", "object"}
    assert not re.search(r"https?:|url\(|@import|src=|href=", text)


def size_of(png):
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", png[16:24])


def test_the_picture_takes_any_text():
    """Formulas, East Asian characters, controls and pictures that the font lacks are no trouble."""
    width, height = size_of(heat_map_picture("100 % of $x$", [ODD, Passage("second", [])], SCALE))
    assert width > 500 and height > 200


def test_the_picture_ends_somewhere():
    text = [Piece(c, 0.0) for c in "word " * 2_000]
    _, height = size_of(heat_map_picture("long", [Passage("", text)], SCALE))
    assert height < 3500


def test_histogram_of_classes():
    draw = np.random.default_rng(0)
    width, height = size_of(histogram(draw.normal(size=40), draw.normal(size=3), SCALE, title="$", label="$a$"))
    assert width > 500 and height > 300
    # a unit that never moves
    size_of(histogram(np.zeros(5), np.zeros(4), SCALE, title="t", label="l"))


def lines(text, columns):
    return ["".join(piece.text for piece in line) for line in wrapped([Piece(c, 0.0) for c in text], columns)]


def test_lines_break_after_blanks():
    assert lines("aa bbb cccc", 7) == ["aa bbb ", "cccc"]
    assert lines("aa bbb cccc", 6) == ["aa bbb ", "cccc"]
    assert lines("aa bbb cccc", 5) == ["aa ", "bbb ", "cccc"]
    assert lines("abcdefgh", 3) == ["abc", "def", "gh"]
    assert lines("ab\ncd\n", 9) == ["ab\n", "cd\n", ""]
    assert lines("", 9) == [""]
    words = [Piece("some ", 0.0), Piece("words ", 1.0), Piece("x " * 9, 1.0)]
    assert [len(line) for line in wrapped(words, 8)] == [1, 1, 1]


def test_columns():
    assert [columns_of(text) for text in ("a", "é", "e\u0301", "漢", "ab 漢")] == [1, 1, 1, 2, 5]


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r"need matplotlib: pip install 'refrain-lm\[plot\]'"):
        heat_map_picture("t", [], SCALE)
