"""Bytes are found in files, folders and patterns: each of them once, in order, and cut without a gap or an overlap."""

import os
import random
import re
from pathlib import Path

import pytest

from refrain.data import ByteStream, find_byte_splits
from refrain.data.text.files import Span, whole
from refrain.data.text.natural_order import natural
from refrain.data.text.shards import is_pattern, names_splits, one_text
from refrain.errors import DataError


def content(spans):
    return ByteStream(spans).read(0, 1 << 30).tobytes()


def contents(splits):
    return {name: content(spans) for name, spans in splits.items()}


def edges(path, **options):
    spans = find_byte_splits(path, **options).values()
    return [(span.start, span.stop) for (span,) in spans]


def test_names_that_differ_in_zeros_have_an_order(tmp_path):
    for name in ("part-1", "part-01", "part-001", "part-2"):
        (tmp_path / name).write_text(f"{name} ")
    expected = b"part-001 part-01 part-1 part-2 "
    # the order of a set of paths is another one in each process
    paths = [Path(tmp_path / name) for name in ("part-1", "part-001", "part-2", "part-01")]
    assert [path.name for path in sorted(paths, key=natural)] == expected.decode().split()
    assert content(one_text(tmp_path / "part-*")) == content(one_text(tmp_path)) == expected


def test_a_file_is_cut_by_position(write):
    path = write("text", b"\xff" * 200)
    assert find_byte_splits(path) == {
        "train": (Span(path, 0, 180),),
        "valid": (Span(path, 180, 190),),
        "test": (Span(path, 190, 200),),
    }
    assert find_byte_splits(path, requested=("valid",)) == {"valid": (Span(path, 180, 190),)}


def test_every_small_file_gives_three_parts(write):
    for size in range(3, 60):
        for shares in ((0.9, 0.05), (0.01, 0.98), (0.001, 0.001)):
            (a, b), (c, d), (e, f) = edges(write("text", b"x" * size), shares=shares)
            assert (a, c, e, f) == (0, b, d, size)
            assert a < b < d < f


@pytest.mark.parametrize(("size", "found"), [(1, "1 byte"), (2, "2 bytes")])
def test_too_few_bytes_to_cut(write, size, found):
    with pytest.raises(DataError, match=f": {found} cannot be split in 3; give more text"):
        find_byte_splits(write("text", b"x" * size))


def test_shares(write):
    path = write("text", b"x" * 1000)
    assert edges(path, shares=(0.5, 0.25)) == [(0, 500), (500, 750), (750, 1000)]
    # as decimal fractions these are all, though as binary ones 0.7 + 0.1 + 0.2 is a little less
    for train in range(1, 10):
        shares = (train / 10, 1 - train / 10)
        assert edges(path, shares=shares) == [(0, train * 100), (train * 100, 1000)]
        with pytest.raises(DataError, match=r"data\.split leaves nothing for test; choose another split"):
            find_byte_splits(path, shares=shares, requested=("test",))
    with pytest.raises(DataError, match=": 1 byte cannot be split in 2"):
        find_byte_splits(write("one", b"x"), shares=(0.9, 0.1))


@pytest.fixture
def tree(write):
    """A folder of files in folders, with some that are not to be read, and its bytes in order of the paths."""
    draw = random.Random(7)
    joined = b""
    # compared name by name, or a blank would come before the slash
    for name in ("a/x.bin", "a/y.bin", "a b/x.txt", "a.txt", "b/c/d/deep", "z"):
        block = draw.randbytes(draw.randint(1, 300))
        write(f"tree/{name}", block)
        joined += block
    write("tree/.hidden", b"no")
    write("tree/.git/objects", b"no")
    return write("tree/b/empty", b"").parents[1], joined


def test_any_folder_is_one_text(tree, write):
    folder, joined = tree
    os.symlink("nowhere", folder / "dangling")
    os.mkfifo(folder / "pipe")
    said = []
    splits = find_byte_splits(folder, log=said.append)
    assert said == [f"{folder}: 6 files read, left out: 1 empty, 2 unreadable"]
    parts = contents(splits)
    assert b"".join(parts.values()) == joined == content(one_text(folder))
    assert len(parts["train"]) == round(len(joined) * 0.9)
    assert len(splits["train"]) > 1 and list(splits) == ["train", "valid", "test"]


def test_a_pattern_is_one_text(tree, monkeypatch):
    folder, joined = tree
    assert content(one_text(folder / "**" / "*")) == joined
    files = [folder / "a" / "x.bin", folder / "a" / "y.bin"]
    assert [span.path for span in one_text(folder / "a" / "*.bin")] == files
    assert [span.path for span in one_text(folder / "*" / "[xy].bin")] == files
    monkeypatch.chdir(folder)
    assert [span.path.name for span in one_text(folder.__class__("a/?.bin"))] == ["x.bin", "y.bin"]


def test_a_name_with_marks_of_a_pattern(write):
    path = write("a[1]*.txt", b"bytes")
    assert is_pattern(str(path.parent / "a[2]*.txt")) and not is_pattern(str(path)) and not is_pattern("plain")
    assert not any(is_pattern(name) for name in ("da\x1b[31mta", "a[", "a[]", "a[!]", "a[b/c]"))
    assert one_text(path) == whole(path)


def test_nothing_to_read(write, tmp_path):
    with pytest.raises(DataError, match=r"\*\.txt: no file matches this pattern; check its spelling, \*\* reaches"):
        find_byte_splits(tmp_path / "*.txt")
    with pytest.raises(DataError, match=r"no files to read; give a corpus with text in it"):
        find_byte_splits(tmp_path)
    write(".hidden", b"x")
    write("empty", b"")
    for path in (tmp_path, tmp_path / "*"):
        with pytest.raises(DataError, match=r"no files to read \(left out: 1 empty, 0 unreadable\); give"):
            find_byte_splits(path)
    with pytest.raises(DataError, match=r"empty: the file is empty"):
        find_byte_splits(tmp_path / "empty")
    with pytest.raises(DataError, match=r"gone: No such file or directory"):
        find_byte_splits(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match=r"pipe: is a pipe, not a file; write it to a file first"):
        find_byte_splits(tmp_path / "pipe")


NAMED = [
    ("train-000.txt", "train-001.txt", "valid.txt", "test.txt"),
    ("shard-train-9.bin", "shard-train-10.bin", "shard-dev-0.bin", "shard-test-0.bin"),
    ("train0", "train1", "val0", "test0"),
    ("Train_00001-of-00002.jsonl", "Train_00002-of-00002.jsonl", "Validation.jsonl", "TEST.jsonl"),
    ("train/b/1", "train/a/7", "valid/only", "test/only"),
]


@pytest.mark.parametrize("names", NAMED, ids=lambda names: names[0])
def test_named_splits_of_many_shards(write, names):
    for name in [*names, "README.md", "retrain.txt", "testing.txt"]:
        folder = write(f"corpus/{name}", f"{name};".encode()).parents[name.count("/")]
    splits = contents(find_byte_splits(folder))
    first, second, valid, test = (f"{name};".encode() for name in names)
    # numbers by value: 9 comes before 10
    joined = [second, first] if "b/1" in names[0] else [first, second]
    assert splits == {"train": b"".join(joined), "valid": valid, "test": test}
    assert contents(find_byte_splits(folder, requested=("test",))) == {"test": test}


def test_the_names_of_word_corpora_are_read_as_ever(write):
    for style in ("ptb.{}.txt", "wiki.{}.tokens", "{}.txt"):
        for split in ("train", "valid", "test"):
            folder = write(f"{style[:2]}/{style.format(split)}", split).parent
        assert contents(find_byte_splits(folder)) == {"train": b"train", "valid": b"valid", "test": b"test"}


def test_a_missing_split(write):
    folder = write("corpus/train.txt", b"x").parent
    with pytest.raises(DataError) as caught:
        find_byte_splits(folder)
    assert str(caught.value) == (
        f"{folder}: no valid text; expected a file such as ptb.valid.txt, valid.txt or wiki.valid.tokens, "
        f"or {folder}/** for all files as one text to cut (found train.txt)"
    )
    write("corpus/valid.txt", b"y")
    assert list(find_byte_splits(folder)) == ["train", "valid"]
    with pytest.raises(DataError, match="no test text"):
        find_byte_splits(folder, requested=("test",))
    # as one text, where asked for
    assert content(one_text(folder / "**")) == b"xy"


def test_the_same_split_twice(write):
    write("corpus/ptb.train.txt", b"x")
    folder = write("corpus/ptb.char.train.txt", b"y").parent
    write("corpus/ptb.valid.txt", b"v")
    write("corpus/ptb.char.valid.txt", b"w")
    said = []
    assert contents(find_byte_splits(folder, log=said.append)) == {"train": b"x", "valid": b"v"}
    assert said[0] == f"{folder}: the train text is ptb.train.txt; left out: ptb.char.train.txt"
    write("corpus/ptb.train.json", b"z")
    write("corpus/ptb.valid.json", b"z")
    with pytest.raises(DataError, match=r"2 files or folders could be the train text, such as ptb.train.json and ptb."):
        find_byte_splits(folder)
    assert names_splits(folder)


def test_a_name_of_two_splits(write):
    path = write("corpus/train-test.txt", b"x")
    with pytest.raises(DataError, match=re.escape(f"{path}: could be the train or the test text; rename it")):
        find_byte_splits(path.parent)


def test_empty_shards(write):
    write("corpus/valid.txt", b"v")
    write("corpus/train-0.txt", b"")
    folder = write("corpus/train-1.txt", b"x").parent
    said = []
    assert contents(find_byte_splits(folder, log=said.append)) == {"train": b"x", "valid": b"v"}
    assert said == [f"{folder}: 1 file read, left out: 1 empty, 0 unreadable"]
    write("corpus/valid.txt", b"")
    with pytest.raises(DataError, match=r"valid\.txt: the file is empty"):
        find_byte_splits(folder)
    (folder / "valid.txt").unlink()
    (folder / "valid").mkdir()
    with pytest.raises(DataError, match=r"corpus/valid: no files to read; give a corpus with text in it"):
        find_byte_splits(folder)


def test_cuts_between_lines(write):
    """No line is in two parts, whatever the lengths and wherever files end."""
    draw = random.Random(8)
    for case in range(60):
        lines = [b"x" * draw.randrange(20) + b"\n" for _ in range(draw.randint(20, 60))]
        # the last line of a file may lack its end
        middle = draw.randrange(1, len(lines))
        lines[middle - 1] = b"end"
        files = [b"".join(lines[:middle]), b"".join(lines[middle:])]
        for number, block in enumerate(files):
            folder = write(f"{case}/{number}", block).parent
        parts = contents(find_byte_splits(folder, shares=(0.5, 0.3), between_lines=True))
        assert b"".join(parts.values()) == b"".join(files)
        position, starts = 0, []
        for line in lines:
            starts.append(position)
            position += len(line)
        total = position
        for cut, share in ((len(parts["train"]), 0.5), (len(parts["train"]) + len(parts["valid"]), 0.8)):
            assert cut == min(start for start in starts if start >= round(total * share))


def test_lines_that_cannot_be_split(write, monkeypatch):
    monkeypatch.setattr("refrain.data.text.files.BLOCK_BYTES", 7)
    path = write("text", b"x" * 99 + b"\n")
    with pytest.raises(DataError, match=r"its lines are too few or too long to be split in 3; give a folder of splits"):
        find_byte_splits(path, between_lines=True)
