"""Text is read in blocks of whole lines: nothing lost, nothing doubled, invalid bytes named by file and offset."""

import hashlib
import itertools
import random

import pytest

from refrain.data.text.files import BLOCK_BYTES, Span, blocks, line_offsets, sha256_of, whole
from refrain.errors import DataError, InvalidUTF8Error


def text_of(path, **options):
    return "".join(blocks(whole(path), **options))


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr("refrain.data.text.files.BLOCK_BYTES", 7)


def test_blocks_end_with_a_newline_and_add_up(write):
    draw = random.Random(2)
    lines = ["".join(draw.choices("aé日 ", k=draw.randint(0, 2000))) for _ in range(2500)]
    text = "\n".join(lines) + "\n"
    path = write("text", text)
    assert path.stat().st_size > 2 * BLOCK_BYTES
    pieces = list(blocks(whole(path)))
    assert len(pieces) > 2
    assert all(piece.endswith("\n") for piece in pieces)
    assert "".join(pieces) == text


@pytest.mark.parametrize("around", [-2, -1, 0, 1])
def test_a_character_on_the_border_of_two_blocks(write, around):
    # the three bytes of the character stand on, before and after the border of the first block
    text = "x" * (BLOCK_BYTES + around) + "日\n" + "y\n"
    assert text_of(write("text", text)) == text


@pytest.mark.parametrize("around", [-1, 0, 1])
def test_a_line_end_on_the_border_of_two_blocks(write, around):
    text = "x" * (BLOCK_BYTES + around - 1) + "\n" + "y\n"
    assert text_of(write("text", text)) == text


def test_a_line_longer_than_several_blocks(write):
    text = "a\n" + "x" * (3 * BLOCK_BYTES + 5) + "\nb\n"
    assert text_of(write("text", text)) == text


def test_every_cut_of_a_small_text(write, small_blocks):
    text = "ab\n\ncdé\nfghijklmnop日本\n\n"
    for length in range(1, len(text) + 1):
        piece = text[:length]
        wanted = piece if piece.endswith("\n") else piece + "\n"
        assert text_of(write("text", piece)) == wanted


def test_a_span_reads_its_own_bytes_alone(write, small_blocks):
    path = write("text", "first line\nsecond line\nthird line\n")
    assert "".join(blocks((Span(path, 11, 23),))) == "second line\n"
    assert sha256_of((Span(path, 11, 23),)) == hashlib.sha256(b"second line\n").hexdigest()
    # a byte order mark is left out at the beginning of any line, and kept elsewhere
    marked = write("marked", "a\n\ufeffb \ufeffc\n")
    assert "".join(blocks((Span(marked, 2, marked.stat().st_size),))) == "b \ufeffc\n"


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"a b\r\nc\r\n", "a b\r\nc\r\n"),
        (b"a\x00b\n", "a\x00b\n"),
        (b"\xef\xbb\xbfa\n", "a\n"),
        (b"\xef\xbb\xbf", "\n"),
        (b"no end", "no end\n"),
        (b"\n", "\n"),
        (b" ", " \n"),
    ],
)
def test_odd_files(write, content, wanted):
    assert text_of(write("text", content)) == wanted


@pytest.mark.parametrize(
    ("content", "offset", "value"),
    [
        (b"\xffabc\n", 0, "ff"),
        (b"abc\nde\xc3(\n", 6, "c3"),
        (b"abc\xe6\x97", 3, "e6"),
        (b"\xef\xbb\xbfabc\x80\n", 6, "80"),
        (b"x" * (BLOCK_BYTES - 1) + b"\nab\xfe\n", BLOCK_BYTES + 2, "fe"),
        (b"x" * (2 * BLOCK_BYTES) + b"\xc3\n", 2 * BLOCK_BYTES, "c3"),
        (b"wxy\n\n" * (BLOCK_BYTES // 2) + b"yz\x9f", 5 * (BLOCK_BYTES // 2) + 2, "9f"),
    ],
    ids=["first", "middle", "end", "after a mark", "second block", "long line", "third block"],
)
def test_invalid_utf8_is_named_by_file_and_offset(write, content, offset, value):
    path = write("text", content)
    with pytest.raises(InvalidUTF8Error) as caught:
        text_of(path)
    assert str(caught.value) == (
        f"{path}: invalid UTF-8 at byte {offset} (0x{value}); correct the file, or if it is in Latin-1 convert it: "
        "iconv -f LATIN1 -t UTF-8"
    )
    text = content.decode(errors="replace").removeprefix("\ufeff")
    assert text_of(path, errors="replace") == text.removesuffix("\n") + "\n"


def test_the_offset_in_a_span_counts_from_the_start_of_the_file(write):
    path = write("text", b"good\n" * 3 + b"bad\xff\n")
    with pytest.raises(DataError, match=r"invalid UTF-8 at byte 18 \(0xff\)"):
        list(blocks((Span(path, 15, 20),)))
    assert list(blocks((Span(path, 0, 15),))) == ["good\n" * 3]


FRACTIONS = [(0.9, 0.95), (0.5,), (0.1, 0.2), (0.99, 0.995), (0.0, 1.0), (0.2, 0.4, 0.6, 0.8)]


@pytest.mark.parametrize("fractions", FRACTIONS)
@pytest.mark.parametrize("end", ["\n", ""])
def test_parts_hold_a_line_each_and_add_up(write, small_blocks, fractions, end):
    parts = len(fractions) + 1
    for count in range(parts, 80):
        lines = [f"line {index}\n" if index % 3 else "\n" for index in range(count - 1)] + [f"last{end}"]
        content = "".join(lines).encode()
        path = write("text", content)
        edges = [0, *line_offsets(*whole(path), fractions), len(content)]
        pieces = [content[start:stop] for start, stop in itertools.pairwise(edges)]
        assert b"".join(pieces) == content
        assert all(pieces)
        assert all(piece.endswith(b"\n") for piece in pieces[:-1])
        for piece, before, after in zip(pieces, (0.0, *fractions), (*fractions, 1.0), strict=True):
            # at most a line of rounding at either end, and what other parts need for their one line
            assert abs(len(piece.splitlines()) - count * (after - before)) <= parts


def test_exact_parts_of_a_hundred_lines(write):
    path = write("text", "x\n" * 100)
    assert line_offsets(*whole(path), (0.9, 0.95)) == [180, 190]


@pytest.mark.parametrize(("content", "lines"), [("a\nb\n", "2 lines"), ("a\nb", "2 lines"), ("a", "1 line")])
def test_too_few_lines_to_split(write, content, lines):
    path = write("text", content)
    with pytest.raises(DataError, match=f": {lines} cannot be split in 3; give a folder of splits$"):
        line_offsets(*whole(path), (0.9, 0.95))


def test_files_that_cannot_be_read(tmp_path, write):
    with pytest.raises(DataError, match=r"gone: No such file or directory"):
        whole(tmp_path / "gone")
    with pytest.raises(DataError, match=r"is a folder, not a file"):
        whole(tmp_path)
    with pytest.raises(DataError, match=r"empty: the file is empty"):
        whole(write("empty", ""))
    assert whole(write("full", "abc")) == ((tmp_path / "full", 0, 3),)


def test_a_text_of_one_endless_line_is_read_in_pieces(write):
    """Nothing holds more than a block and a word, and the words are the same."""
    from refrain.data.units.word.vocabulary import words_of

    content = " ".join(f"w{number}" for number in range(400_000))
    for text in (content, content + " ", content + "\n"):
        span = whole(write("line.txt", text))
        pieces = list(blocks(span, whole_lines=False))
        assert len(pieces) > 2 and max(map(len, pieces)) < 2 * (1 << 20)
        assert [word for piece in pieces for word in words_of(piece)] == words_of(content + "\n")
