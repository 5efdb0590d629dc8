"""Lines are yielded as they come, and streams write what they can."""

import io
import os
import sys
import threading
import time

import pytest

from refrain.cli.output import table
from refrain.cli.streams import ReaderLeft, _Errors, _Output
from refrain.cli.texts import batches_of, large_batches_of
from refrain.data.text import files
from refrain.errors import DataError


@pytest.fixture
def pipe(monkeypatch):
    """The end of a pipe that is written to; the other is standard input."""
    source, sink = os.pipe()
    with open(source) as reader, open(sink, "wb", buffering=0) as writer:
        monkeypatch.setattr(sys, "stdin", reader)
        yield writer


def test_a_batch_is_what_has_come(pipe):
    batches = batches_of("-", "strict")
    pipe.write("\ufeffone\ntwo\n".encode())
    assert next(batches) == ["one", "two"]
    pipe.write(b"three\r\n\n\nha")
    assert next(batches) == ["three\r", "", ""]
    pipe.write("lf \u00e9".encode()[:-1])
    pipe.write("\u00e9".encode()[1:] + b"\nrest")
    assert next(batches) == ["half \u00e9"]
    pipe.close()
    assert next(batches) == ["rest"]
    assert list(batches) == []


def test_what_comes_fast_comes_in_large_batches(pipe):
    lines = [f"line {number}" for number in range(20_000)]
    writer = threading.Thread(target=lambda: (pipe.write("\n".join(lines).encode()), pipe.close()))
    writer.start()
    batches = list(batches_of("-", "strict"))
    writer.join()
    assert [line for batch in batches for line in batch] == lines
    assert len(batches) < 200


def test_a_long_line_comes_in_one_piece(pipe):
    writer = threading.Thread(target=lambda: (pipe.write(b"x" * 3_000_000 + b"\ny"), pipe.close()))
    writer.start()
    assert list(batches_of("-", "strict")) == [["x" * 3_000_000], ["y"]]
    writer.join()


def test_the_lines_before_invalid_utf8_are_yielded(pipe):
    pipe.write(b"one\n")
    batches = batches_of("-", "strict")
    assert next(batches) == ["one"]
    pipe.write(b"two\nthr\xffee\nfour\n")
    pipe.close()
    assert next(batches) == ["two"]
    with pytest.raises(
        DataError, match=r"standard input: invalid UTF-8 at byte 11; .* iconv -f LATIN1 .*, or use --errors replace"
    ):
        next(batches)


def test_invalid_utf8_is_replaced_where_asked(pipe):
    pipe.write(b"o\xffne\n\xc3\ntwo")
    pipe.close()
    assert list(batches_of("-", "replace")) == [["o\ufffdne", "\ufffd"], ["two"]]


def test_standard_input_that_is_a_folder(monkeypatch):
    class Folder(io.RawIOBase):
        def readable(self):
            return True

        def readinto(self, buffer):
            raise IsADirectoryError(21, "Is a directory")

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Folder())))
    with pytest.raises(DataError, match="standard input: Is a directory; give a text file, or a text through a pipe"):
        list(batches_of("-", "strict"))


@pytest.mark.skipif(not hasattr(os, "set_blocking"), reason="needs pipes that do not block")
@pytest.mark.parametrize("kind", [_Output, _Errors])
def test_a_pipe_that_is_full_and_does_not_block_is_waited_for(kind):
    source, sink = os.pipe()
    os.set_blocking(sink, False)
    full = 0
    try:
        while True:
            full += os.write(sink, bytes(1 << 16))
    except BlockingIOError:
        pass
    found = []

    def read():
        time.sleep(0.1)
        while sum(map(len, found)) < full + 200_000:
            found.append(os.read(source, 1 << 16))

    reader = threading.Thread(target=read)
    reader.start()
    with kind(sink, "wb") as raw, io.BufferedWriter(raw) as file:
        file.write(b"x" * 200_000)
    reader.join()
    os.close(source)
    assert b"".join(found)[full:] == b"x" * 200_000


def test_a_reader_that_has_left_is_no_error_of_the_system():
    source, sink = os.pipe()
    os.close(source)
    with _Output(sink, "wb") as file, pytest.raises(ReaderLeft):
        file.write(b"x")
    assert not issubclass(ReaderLeft, OSError)


def test_cells_of_a_table_are_single_lines():
    assert table([["name", "n"], ["a\nb\x1b", "1"]]) == "name      n\na\\nb\\x1b  1"


def test_a_file_comes_in_large_batches_and_a_pipe_as_it_comes(pipe, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "BLOCK_BYTES", 8)
    path = tmp_path / "text.txt"
    path.write_bytes(b"one\ntwo\n" * 5 + b"\xff\n")
    batches = large_batches_of(str(path), "strict", 4)
    assert [next(batches), next(batches)] == [["one", "two"] * 2] * 2
    # what comes before invalid UTF-8
    assert next(batches) == ["one", "two"]
    with pytest.raises(DataError, match="invalid UTF-8 at byte 40"):
        next(batches)
    pipe.write(b"one\n")
    assert next(large_batches_of("-", "strict", 4)) == ["one"]
