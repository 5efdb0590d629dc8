"""Cells of tab-separated tables."""

import ast
import sys

import pytest

from refrain.storage.plain_text import tsv_cell


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
