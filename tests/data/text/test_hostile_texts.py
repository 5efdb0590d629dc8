"""What a path of a text can lead to: pipes, devices, files that change while they are read, odd lines and tables."""

import json
import os
import socket
import time

import pytest

from refrain.data.tagged.corpus import read_tagged
from refrain.data.text.byte_stream import ByteStream
from refrain.data.text.files import blocks, raw_blocks, whole
from refrain.data.text.labelled import read_labelled
from refrain.data.text.shards import find_byte_splits
from refrain.data.text.splits import find_splits
from refrain.data.text.token_file import TokenFile, write_tokens
from refrain.data.units.byte.corpus import open_byte_corpus
from refrain.data.units.word.corpus import open_word_corpus
from refrain.errors import DataError

SECONDS = 5
READERS = [whole, find_splits, find_byte_splits, read_tagged]
needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders here")


@needs_pipes
@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("what", "wanted"),
    [
        ("pipe", "is a pipe, not a file; write it to a file first"),
        ("link to a pipe", "is a pipe, not a file; write it to a file first"),
        ("socket", "is a socket, not a file"),
        ("/dev/zero", "is a device, not a file"),
        ("/dev/tty", "is a device, not a file"),
        ("a link in a circle", "Too many levels of symbolic links"),
    ],
)
def test_what_is_no_file_is_not_waited_for(tmp_path, monkeypatch, read, what, wanted):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "text.txt"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "link to a pipe":
        os.mkfifo(tmp_path / "pipe")
        path.symlink_to("pipe")
    elif what == "a link in a circle":
        path.symlink_to("text.txt")
    elif what != "socket":
        path.symlink_to(what)
    with socket.socket(socket.AF_UNIX) as listening:
        if what == "socket":
            listening.bind("text.txt")
        with pytest.raises(DataError) as caught:
            read(path)
    assert str(caught.value) == f"{path}: {wanted}"


@needs_pipes
def test_pipes_in_folders_are_passed_over(tmp_path, write):
    for name in ("train", "valid", "test"):
        write(f"words/{name}.txt", "a b\n")
        os.mkfifo(tmp_path / "words" / f"other.{name}.txt")
        write(f"tables/{name}.csv", "label,text\n1,a\n0,b\n")
        os.mkfifo(tmp_path / "tables" / f"other.{name}.csv")
    assert set(find_splits(tmp_path / "words")) == {"train", "valid", "test"}
    assert set(read_labelled(tmp_path / "tables")) == {"train", "valid", "test"}


def test_a_text_that_vanishes_or_becomes_shorter(write):
    path = write("text.txt", "a b c\n" * 1000)
    (span,) = whole(path)
    os.truncate(path, 10)
    with pytest.raises(DataError, match=r"text\.txt: has become shorter since it was found; put the file back"):
        list(raw_blocks(span))
    with pytest.raises(DataError, match=r"text\.txt: has become shorter"):
        open_word_corpus("text", {"train": (span,)})
    path.unlink()
    with pytest.raises(DataError, match=r"text\.txt: cannot be read any more \(No such file or directory\); put"):
        list(blocks((span,)))
    if hasattr(os, "mkfifo"):
        os.mkfifo(path)
        with pytest.raises(DataError, match=r"text\.txt: cannot be read any more \(is a pipe, not a file\); put"):
            list(blocks((span,)))


@pytest.mark.skipif(os.name == "nt", reason="a mapped file cannot be truncated there")
def test_a_text_that_is_truncated_while_it_is_mapped(write):
    """Where the mapped pages are read after that, the system ends the process."""
    path = write("text.txt", "a b c\n" * 10_000)
    stream = ByteStream(whole(path))
    assert len(stream.read(50_000, 50_010)) == 10
    os.truncate(path, 100)
    with pytest.raises(DataError, match=r"text\.txt: has become shorter since it was opened; put the file back"):
        stream.read(50_000, 50_010)
    write_tokens(path, [])
    os.truncate(path, 100_000)
    tokens = TokenFile(path, "uint16")
    assert tokens.read(40_000, 40_005).tolist() == [0] * 5
    os.truncate(path, 0)
    with pytest.raises(DataError, match="has become shorter"):
        tokens.read(40_000, 40_005)


ODD = {
    "a line of 10 MB": b"a b " * 2_500_000 + b"\n",
    "a word of 10 MB": b"a" * 10_000_000 + b"\n",
    "NUL bytes": b"a\0b \0 c\n" * 1000,
    "no line end": b"a b c",
    "one token": b"a",
    "newlines alone": b"\n" * 100_000,
    "line ends of all kinds": "a\r\nb\rc\u2028d\u0085e\x0bf\x0c\n".encode(),
    "a byte order mark alone": b"\xef\xbb\xbf",
}


@pytest.mark.parametrize("name", ODD)
def test_odd_texts_are_read(write, tmp_path, monkeypatch, name):
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "cache"))
    path = write("text.txt", ODD[name])
    start = time.process_time()
    words = open_word_corpus("text", {"train": whole(path)})
    assert time.process_time() - start < SECONDS
    assert words.splits["train"].lines == ODD[name].count(b"\n") or not ODD[name].endswith(b"\n")
    assert len(open_byte_corpus("text", {"train": whole(path)}).splits["train"].tokens) == len(ODD[name])


CONLLU = {
    "100,000 columns": ("1" + "\tx" * 100_000, ":1: expected 10 columns with tabs between them, found 100001"),
    "a huge id": ("9" * 100_000 + "\tx" * 9, f":1: expected the id 1 at the first word, found '{'9' * 60}…'; is"),
    "a huge range alone": ("1-999999999" + "\t_" * 9, ":1: a sentence without words"),
    "a huge empty node": (f"0.{'9' * 100_000}" + "\t_" * 9, ":1: a sentence without words"),
    "a word without a tag": ("1\t" + "w" * 100_000 + "\t_\t" + "\t_" * 6, f":1: the word '{'w' * 60}…' has no upos"),
    "only comments": ("# text\n" * 1000, ": no sentence to read"),
    "a huge range that ends before": ("2-1" + "\t_" * 9, ":1: the range '2-1' is not from word 1 on"),
    "a range without an end": ("1-" + "9" * 100_000 + "\t_" * 9, ":1: a sentence without words"),
    "nothing but tabs": ("\t" * 100_000, ": no sentence to read"),
    "NUL": ("1\t\0\t_\t" + "\t_" * 6, ":1: the word '\\x00' has no upos"),
    "a block without an end": (
        "1\tx\t_\tX" + "\t_" * 6 + "\n1\tx" * 30_000,
        ":1: a sentence of 30,001 lines, more than",
    ),
    "invalid UTF-8": (b"1\t\xff" + b"\t_" * 8, ":1: invalid UTF-8"),
}


@pytest.mark.parametrize("name", CONLLU)
def test_conllu_of_any_size(write, name):
    content, wanted = CONLLU[name]
    path = write("text.conllu", content + (b"\n\n" if isinstance(content, bytes) else "\n\n"))
    start = time.process_time()
    with pytest.raises(DataError) as caught:
        read_tagged(path)
    assert time.process_time() - start < SECONDS
    # the remedy may name the file, too
    assert str(caught.value).startswith(f"{path}{wanted}") and len(str(caught.value)) < 400 + 2 * len(str(path))


def test_ranges_and_empty_nodes_of_any_size_are_no_words(write):
    rest = "\tx\t_\tX" + "\t_" * 6
    rows = [f"1-999999999{rest}", f"1{rest}", f"1.{'9' * 5000}{rest}", f"2{rest}"]
    assert read_tagged(write("text.conllu", "\n".join(rows) + "\n\n")).tokens == ["x", "x"]


@pytest.mark.parametrize("ending", ["conllu", "tsv"])
@pytest.mark.parametrize("column", ["1" * 100_000, "0", "-1", "x" * 100_000, "", "\0"])
def test_columns_of_any_length(write, column, ending):
    text = "1\tx\t_\tX" + "\t_" * 6 if ending == "conllu" else "x\tX"
    with pytest.raises(DataError, match=r"data\.column: ") as caught:
        read_tagged(write(f"text.{ending}", text + "\n\n"), column=column)
    assert len(str(caught.value)) < 400


def test_labels_of_any_length(write, tmp_path):
    for name in ("train", "valid", "test"):
        write(f"{name}.csv", "label,text\n" + f"{name}{'x' * 100_000},a\n0,b\n")
    with pytest.raises(DataError) as caught:
        read_labelled(tmp_path)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("file", ["corpus.json", "vocabulary.json", "train.bin"])
@pytest.mark.parametrize("what", ["pipe", "device", "deep", "a million digits", "another type"])
def test_a_prepared_corpus_is_not_trusted(write, tmp_path, monkeypatch, file, what):
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "cache"))
    spans = {"train": whole(write("text.txt", "a b c\n" * 10))}
    open_word_corpus("text", spans)
    (folder,) = (tmp_path / "cache" / "words").iterdir()
    path = folder / file
    if what == "another type":
        header = json.loads((folder / "corpus.json").read_text())
        (folder / "corpus.json").write_text(json.dumps({**header, "dtype": "object"}))
    elif what == "pipe" and hasattr(os, "mkfifo"):
        path.unlink()
        os.mkfifo(path)
    elif what == "device" and os.path.exists("/dev/zero"):
        path.unlink()
        path.symlink_to("/dev/zero")
    else:
        path.write_text("[" * 100_000 if what == "deep" else f'{{"dtype": {"9" * 100_000}}}')
    with pytest.raises(DataError, match=r"the prepared corpus is damaged \(.*\); delete this folder and try again"):
        open_word_corpus("text", spans)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no numbers of users here")
def test_a_prepared_corpus_of_another_user_is_not_read(write, tmp_path, monkeypatch):
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "cache"))
    spans = {"train": whole(write("text.txt", "a b c\n" * 10))}
    open_word_corpus("text", spans)
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    if owner == 0:
        # what the administrator prepared may be read by all
        open_word_corpus("text", spans)
        (folder,) = (tmp_path / "cache" / "words").iterdir()
        os.chown(folder, 12345, -1)
    with pytest.raises(DataError, match=r"belongs to another user; name a folder of your own in .* REFRAIN_CACHE"):
        open_word_corpus("text", spans)
