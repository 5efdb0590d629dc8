"""Cells of tab-separated tables."""

import ast
import io
import sys
import unicodedata

import pytest

from refrain.storage.plain_text import errors_on_terminal, log_line, tsv_cell, visible


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("plain words, \u00e9, \u65e5\u672c, \U0001f600", "plain words, \u00e9, \u65e5\u672c, \U0001f600"),
        ("", ""),
        ("a\tb", r"a\tb"),
        ("a\r\nb", r"a\r\nb"),
        (r"a\tb", r"a\\tb"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\x00\x7f\x85", r"\x00\x7f\x85"),
        ("a\u2028b\u2029", r"a\u2028b\u2029"),
        ("\udc80", r"\udc80"),
    ],
)
def test_a_cell_is_one_field_of_one_line(text, cell):
    assert tsv_cell(text) == cell


def test_every_cell_is_one_line_and_can_be_read_back():
    text = "".join(map(chr, range(sys.maxunicode + 1)))
    cell = tsv_cell(text)
    assert len(cell.splitlines()) == 1 and "\t" not in cell
    # the escapes are those of Python
    assert ast.literal_eval('"' + cell.replace('"', '\\"') + '"') == text


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain words, \u00e9, \u65e5\u672c, \U0001f600, a\\b", "plain words, \u00e9, \u65e5\u672c, \U0001f600, a\\b"),
        ("one\ntwo\r\n\tthree", r"one\ntwo\r\n\tthree"),
        ("\x1b[2J\x00\x7f\x9b", r"\x1b[2J\x00\x7f\x9b"),
        ("\u202eabc\u202c\u2066\u2069\u200f\u061c", r"\u202eabc\u202c\u2066\u2069\u200f\u061c"),
        ("caf\udce9", r"caf\udce9"),
    ],
)
def test_control_characters_are_visible(text, seen):
    assert visible(text) == seen
    assert visible(seen) == seen


def test_what_is_kept_is_not_replaced():
    assert visible("a\tb\nc\x1b", keep="\n\t") == "a\tb\nc\\x1b"


def test_no_character_that_is_left_is_a_control():
    every = visible("".join(map(chr, range(sys.maxunicode + 1))))
    categories = {unicodedata.category(character) for character in every}
    assert not categories & {"Cc", "Cs", "Zl", "Zp"}
    assert not any(unicodedata.bidirectional(character) in BIDI_CONTROLS for character in every)


# all bidirectional types of formatting characters
BIDI_CONTROLS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def test_a_line_is_logged_though_nobody_reads_it(monkeypatch, capsys):
    log_line("one\ntwo")
    assert capsys.readouterr() == ("", "one\\ntwo\n")
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed, Left()):
        monkeypatch.setattr(sys, "stderr", stream)
        log_line("nobody reads this")
        assert not errors_on_terminal()
    monkeypatch.undo()
    assert capsys.readouterr() == ("", "")


class Left(io.StringIO):
    """A stream whose reader has left."""

    def write(self, text):
        raise BrokenPipeError
