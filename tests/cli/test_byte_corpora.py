"""Bytes of any files, from the command line: trained, resumed, measured; and what is wrong with them, with status 3."""

import json
import os
import random

import pytest

BYTES = ("data.unit=byte", "training.epochs=1")


@pytest.fixture
def shards(write):
    """A folder of twelve files of any bytes, 24,000 in all."""
    draw = random.Random(2)
    for number in range(12):
        folder = write(f"shards/part-{number:02d}", draw.randbytes(2000)).parent
    return folder


@pytest.mark.parametrize("name", ["shards", "shards/part-*", "shards/part-00"])
def test_training_on_a_folder_a_pattern_or_a_file(refrain, train, shards, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    # 0.8, 0.1 and 0.1 of twelve files of 2,000 bytes, or of one
    total = 2000 if name.endswith("00") else 24_000
    found = refrain(*train(name, *BYTES, "data.split=[0.8,0.1]", "--json")).json
    assert found["test"]["tokens"] == total // 10 - 1
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())["data"]
    assert manifest["unit"] == "byte" and manifest["vocabulary"] == 256
    assert {split: part["bytes"] for split, part in manifest["splits"].items()} == {
        "train": total * 8 // 10,
        "valid": total // 10,
        "test": total // 10,
    }
    assert manifest["splits"]["train"]["files"] == (1 if total == 2000 else 10)
    # the run finds its corpus from anywhere, and the same parts of it
    monkeypatch.chdir("/")
    assert refrain("evaluate", tmp_path / "run", "--json").json["tokens"] == total // 10 - 1
    assert refrain("evaluate", tmp_path / "run", "--data", shards, "--json").json["tokens"] == 23_999
    again = refrain("train", "--resume", "--out", tmp_path / "run", "--json").json
    assert again["test"] == found["test"]
    with (shards / "part-00").open("r+b") as file:
        file.write(b"changed")
    outcome = refrain("train", "--resume", "--out", tmp_path / "run")
    more = " and 9 more files" if total == 24_000 else ""
    assert outcome.status == 3
    assert f"part-00{more}: the train text has changed since" in outcome.err


def test_training_on_reviews(refrain, train, write, tmp_path):
    draw = random.Random(3)
    reviews = ["".join(draw.choices("abc &amp;", k=draw.randint(20, 80))) for _ in range(150)]
    path = write("reviews.txt", "\n".join(reviews) + "\n")
    found = refrain(*train(path, *BYTES, "data.cleaning=reviews", "--json"))
    assert "cleaning reviews.txt (reviews)" in found.err
    assert found.json["valid"]["tokens"] > 100
    again = refrain("evaluate", tmp_path / "run", "--json")
    # of the same cut, and found in the cache
    assert again.json["tokens"] == found.json["test"]["tokens"]
    whole = refrain("evaluate", tmp_path / "run", "--data", path, "--json").json
    assert whole["tokens"] > 10 * again.json["tokens"]


def test_data_check(refrain, write):
    write("corpus/train-0.txt", "one\n\nthr\u00e9e\n")
    write("corpus/train-1.txt", b"\xff\xff no end")
    folder = write("corpus/valid.txt", b"\0" * 2000).parent
    found = refrain("data", "check", folder, "--unit", "byte", "--json").json
    assert found["vocabulary"] == 256
    assert found["splits"]["train"].items() >= {
        "files": 2, "tokens": 21, "lines": 3, "unseen": 0, "longest_line": 9, "byte_values": 12, "invalid_utf8": 2,
    }.items()  # fmt: skip
    assert found["splits"]["valid"]["longest_line"] == 2000
    assert found["warnings"] == [
        "train: 9.52% of the bytes (2) are not UTF-8",
        "train: only 21 tokens",
        "valid: every byte is the same",
    ]
    text = refrain("data", "check", folder, "--unit", "byte").out
    assert text.splitlines()[1].split() == [
        "split", "files", "tokens", "lines", "unseen", "longest_line", "byte_values", "invalid_utf8",
    ]  # fmt: skip


def test_data_check_of_reviews(refrain, write):
    path = write("reviews.txt", "good\n\n" * 30)
    found = refrain("data", "check", path, "--unit", "byte", "--cleaning", "reviews", "--json").json
    # a newline, a blank and a blank for each review, and no blank lines
    assert sum(split["tokens"] for split in found["splits"].values()) == 30 * 7
    assert refrain("data", "check", path, "--cleaning", "reviews").status == 2


def empty_file(write):
    return write("empty", ""), "empty: the file is empty"


def one_byte(write):
    return write("one", b"x"), "one: 1 byte cannot be split in 3; give more text"


def empty_folder(write):
    return write(".hidden", b"x").parent, "no files to read; give a corpus with text in it"


def folder_of_empty_files(write):
    write("corpus/a", "")
    return write("corpus/b/c", "").parents[1], "no files to read (left out: 2 empty, 0 unreadable); give"


def unreadable_file(write):
    path = write("corpus/a", b"x")
    os.symlink("nowhere", path.parent / "b")
    path.unlink()
    return path.parent, "no files to read (left out: 0 empty, 1 unreadable); give"


def no_match(write):
    return write("text.txt", b"x").parent / "*.text", "*.text: no file matches this pattern; check its spelling"


def no_valid(write):
    return write("corpus/train-0.txt", b"x" * 9999).parent, "no valid text; expected a file such as ptb.valid.txt"


def empty_split(write):
    write("corpus/train.txt", b"x" * 9999)
    return write("corpus/valid.txt", "").parent, "valid.txt: the file is empty"


@pytest.mark.parametrize(
    "make",
    [empty_file, one_byte, empty_folder, folder_of_empty_files, unreadable_file, no_match, no_valid, empty_split],
)
def test_bad_corpora(mistake, train, write, tmp_path, make):
    corpus, message = make(write)
    mistake(3, train(corpus, *BYTES), message)
    mistake(3, ["data", "check", corpus, "--unit", "byte"], message)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("size", "message"),
    [
        # nine tenths of it are less than four columns of a window of five bytes and one more
        (26, "split 'train': has 23 tokens, too few for batch_size=4 and window_steps=5, which need 24; lower"),
        (100, "split 'valid': has 5 tokens, too few for the protocol 'zaremba', which"),
    ],
)
def test_a_corpus_shorter_than_a_window(mistake, train, write, tmp_path, tree, refrain, size, message):
    mistake(3, train(write("text", b"x" * size), *BYTES), message)
    assert not (tmp_path / "run").exists()
    # a run that stands there stays as it is
    assert refrain(*train(write("long", b"xy" * 2000), *BYTES, "--quiet")).status == 0
    before = tree(tmp_path / "run")
    mistake(3, train(tmp_path / "text", *BYTES, "--force"), message)
    assert tree(tmp_path / "run") == before


def test_settings_that_cannot_take_effect(mistake, train, tiny_corpus, write):
    mistake(2, train(tiny_corpus, *BYTES, "data.split=[0.8,0.1]"), "data.split: cannot take effect")
    mistake(2, train(tiny_corpus, "data.split=[0.8,0.1]"), "data.split: cannot take effect")
    mistake(2, train(tiny_corpus, "data.cleaning=reviews"), "data.cleaning: cannot take effect with unit 'word'")
    text = write("a.txt", "a b\n" * 99)
    mistake(3, train(text.with_name("da\x1b[31mta")), "da\\x1b[31mta: no such file or folder; known corpora: ")
    mistake(3, train(text.with_name("b*")), "b*: no such file or folder, and no file matches it as a pattern; check")
