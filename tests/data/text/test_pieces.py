"""Pieces of a text that are read one by one are the text that is read at once."""

import random

import pytest

from refrain.data.text import files, pieces
from refrain.data.text.files import Span, blocks, piece_blocks, whole
from refrain.data.text.pieces import as_document, from_document, pieces_of
from refrain.errors import DataError

PARTS = (
    "a", "word", "<eos>", "<unk>", "\n", "\n", " ", "\t", "\r", "\r\n", "\ufeff", "\x0b", "\x0c", "\x00", "\x1c",
    "\u00a0", "\u2028", "\u3000", "é", "e\u0301", "😀", "K", "  \t ",
)  # fmt: skip


def random_text(seed):
    draw = random.Random(seed)
    return "".join(draw.choices(PARTS, k=draw.randint(1, 120)))


def read(groups, errors="strict", **ends):
    return "".join(text for group in groups for piece in group for text in piece_blocks(piece, errors, **ends))


@pytest.mark.parametrize("size", [1, 5, 40])
@pytest.mark.parametrize("lines", [True, False])
def test_pieces_joined_are_the_text(write, monkeypatch, size, lines):
    monkeypatch.setattr(pieces, "PIECE_BYTES", size)
    for seed in range(60):
        spans = whole(write("text", random_text(seed))) + whole(write("more", random_text(-seed).replace("\n", "")))
        groups = list(pieces_of(spans, whole_lines=lines))
        assert read(groups, whole_lines=lines) == "".join(blocks(spans))
        cut = [piece.span for group in groups for piece in group]
        # every byte is in one piece, in order
        assert [span.path for span in cut] == sorted((span.path for span in cut), reverse=True)
        assert sum(span.stop - span.start for span in cut) == sum(span.stop for span in spans)


def test_where_pieces_end(write, monkeypatch):
    monkeypatch.setattr(pieces, "PIECE_BYTES", 4)
    path = write("text", "a b\nc d  \t<eos>\ne")
    at = [piece.span[1:] for (piece,) in pieces_of(whole(path))]
    assert at == [(0, 4), (4, 16), (16, 17)]
    # after a blank where there is no line end, but not among several blanks
    path = write("text", "a b   \t<eos> c")
    found = [(piece.span.start, piece.begins_line) for (piece,) in pieces_of(whole(path), whole_lines=False)]
    assert found == [(0, True), (7, False), (13, False)]
    # a file of an old Mac
    path = write("mac", "a b\rc d\re")
    assert [piece[1:] for (piece,) in pieces_of(whole(path))] == [(True, False, True), (True, False, True), (True,) * 3]


def test_small_files_are_read_together(write):
    spans = sum((whole(write(f"{number}", f"text {number}")) for number in range(5)), ())
    (group,) = pieces_of(spans)
    assert [piece.span for piece in group] == list(spans)
    assert read([group]) == "".join(f"text {number}\n" for number in range(5))
    assert from_document(as_document(group)) == group


def test_a_text_on_one_line_has_pieces(write, monkeypatch):
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1000)
    monkeypatch.setattr(files, "BLOCK_BYTES", 100)
    spans = whole(write("text", "word " * 2000))
    assert len(list(pieces_of(spans, whole_lines=False))) == 10
    assert len(list(pieces_of(spans))) == 1


def test_invalid_bytes_are_named_by_their_place_in_the_file(write, monkeypatch):
    monkeypatch.setattr(pieces, "PIECE_BYTES", 4)
    path = write("text", b"a b\nc d\ne \xff\nf\n")
    with pytest.raises(DataError, match="text: invalid UTF-8 at byte 10"):
        read(pieces_of(whole(path)))
    groups = list(pieces_of((Span(path, 4, 14),)))
    assert read(groups, "replace") == "c d\ne \ufffd\nf\n"
