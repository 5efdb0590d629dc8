"""Many files are one text of words: a pattern, or a folder without splits, compressed or not."""

import bz2
import gzip
import lzma

import pytest

from refrain.assembly import build_corpus, build_text
from refrain.config import Data
from refrain.data import find_splits
from refrain.data.text.files import blocks, size_of, whole
from refrain.data.text.joined import cut_joined, is_joined, joined_text
from refrain.errors import DataError, UserError

PACK = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.fixture
def shards(write):
    """Twelve files, packed in four ways, whose lines are numbered through; the last lines of some lack their end."""
    for number in range(12):
        ending = list(PACK)[number % 4]
        text = "".join(f"w{line} of\n" for line in range(10 * number, 10 * number + 10))
        path = write(f"shards/part-{number}.txt{ending}", PACK[ending](text[: -(number % 2) or None].encode()))
    return path.parent


LINES = [f"w{line} of" for line in range(120)]


def lines_of(spans):
    return "".join(blocks(spans)).splitlines()


def test_files_are_joined_in_natural_order(shards, cache):
    assert is_joined(shards) and is_joined(shards / "part-*")
    log = []
    assert lines_of(joined_text(shards, log.append)) == LINES
    assert log[0] == f"{shards}: no file is named after a split, so the folder is one text of 12 files"
    assert lines_of(joined_text(shards / "part-*")) == LINES
    assert lines_of(joined_text(shards / "part-1?.*")) == LINES[100:]


def test_what_is_no_text_is_left_out_of_a_folder(shards, write):
    for name in ("README.md", "table.csv", "script.py", ".hidden.txt"):
        write(f"shards/{name}", "x\n")
    write("shards/empty.txt", "")
    log = []
    assert lines_of(joined_text(shards, log.append)) == LINES
    assert log[0].endswith(
        "is one text of 13 files; left out 3 files without the name of a text (README.md, script.py, table.csv); to "
        f"read all files, give the pattern '{shards}/**'"
    )
    assert log[-1] == f"{shards}: 12 files read, left out: 1 empty, 0 unreadable"


@pytest.mark.parametrize("names", [("app.log", "app.log.1"), ("a.log", "b.log"), ("a.md", "b.rst", "c.markdown")])
def test_logs_and_documents_are_texts(write, names):
    for name in names:
        folder = write(f"logs/{name}", f"{name}\n").parent
    assert is_joined(folder)
    log = []
    assert lines_of(joined_text(folder, log.append)) == list(names)
    assert log == [f"{folder}: no file is named after a split, so the folder is one text of {len(names)} files"]


def test_a_log_beside_the_files_of_a_split_is_left_out(write):
    """A folder named after a split has texts, and files about them."""
    for name in ("train/1.txt", "train/2.txt", "train/download.log", "valid/a.log"):
        folder = write(f"corpus/{name}", f"{name}\n").parents[1]
    log = []
    found = find_splits(folder, requested=("train", "valid"), log=log.append)
    assert [lines_of(spans) for spans in found.values()] == [["train/1.txt", "train/2.txt"], ["valid/a.log"]]
    assert log == [
        f"{folder / 'train'}: left out 1 file without the name of a text (download.log); to read one, "
        "end its name in .txt"
    ]


@pytest.mark.parametrize("fractions", [(0.9, 0.95), (0.5, 0.75), (0.01, 0.02), (0.98, 0.99), (0.25,)])
def test_a_joined_text_is_cut_between_lines_as_a_file_is(shards, write, fractions):
    spans = joined_text(shards)
    parts = cut_joined(spans, fractions)
    assert [line for part in parts for line in lines_of(part)] == LINES
    assert sum(map(size_of, parts)) == size_of(spans)
    single = cut_joined(whole(write("one.txt", "".join(f"{line}\n" for line in LINES))), fractions)
    assert [lines_of(part) for part in parts] == [lines_of(part) for part in single]
    assert min(len(lines_of(part)) for part in parts) >= 1


def test_several_processes_unpack(shards, tmp_path, monkeypatch):
    """Each compressed file is unpacked once, by whichever process, and is found in the cache afterwards."""
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "cache"))
    log = []
    assert lines_of(joined_text(shards, log.append, workers=2)) == LINES
    assert log[1:] == [f"{shards}: unpacking 9 files, or finding them in the cache"]
    assert len(list((tmp_path / "cache" / "unpacked").iterdir())) == 9
    # an error is that of the first file
    for name in ("part-2.txt.bz2", "part-7.txt.xz"):
        (shards / name).write_bytes((shards / name).read_bytes()[:-9])
    with pytest.raises(DataError, match=r"part-2\.txt\.bz2: the bzip2 data is damaged or incomplete"):
        joined_text(shards, workers=2)


def test_too_few_lines(write):
    write("few/a.txt", "a")
    path = write("few/b.txt", "b\n")
    with pytest.raises(DataError, match=r"a\.txt and 1 more file: 2 lines cannot be split in 3; give more text"):
        cut_joined(joined_text(path.parent), (0.9, 0.95))


def test_what_is_not_joined(write, tmp_path):
    assert not is_joined(write("a.txt", "a\n"))
    assert not is_joined(write("splits/train.txt", "a\n").parent)
    write("above/data/train.txt", "a\n")
    write("above/data/valid.txt", "a\n")
    assert not is_joined(tmp_path / "above")
    assert not is_joined(write("notes/README.md", "a\n").parent)


@pytest.mark.parametrize("unit", ["word", "character"])
def test_a_corpus_of_many_files(shards, unit):
    corpus = build_corpus(Data(corpus=str(shards), unit=unit, split=(0.5, 0.25)))
    assert [split.lines for split in corpus.splits.values()] == [60, 30, 30]
    pattern = build_corpus(Data(corpus=str(shards / "*"), unit=unit, split=(0.5, 0.25)))
    assert [split.sha256 for split in pattern.splits.values()] == [split.sha256 for split in corpus.splits.values()]
    text, name = build_text(Data(unit=unit), shards, None, corpus.vocabulary)
    assert name == "all" and text.splits["all"].lines == 120


def test_a_folder_of_splits_is_not_cut(write):
    folder = write("splits/train.txt", "a\n").parent
    write("splits/valid.txt", "a\n")
    with pytest.raises(UserError, match=r"data\.split: cannot take effect"):
        build_corpus(Data(corpus=str(folder), split=(0.5, 0.25)))
