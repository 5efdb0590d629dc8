"""Splits are found in PTB and WikiText style, and what is missing or ambiguous is named."""

import errno
import sys

import pytest

from refrain.data import find_byte_splits, find_splits
from refrain.data.text.files import Span, whole
from refrain.data.text.splits import fractions_of
from refrain.errors import DataError


def folder_of(write, *names):
    for name in names:
        write(f"corpus/{name}", f"text of {name}\n")
    return write("corpus/README.md", "not a split").parent


STYLES = [
    ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"),
    ("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens"),
    ("train.txt", "valid.txt", "test.txt"),
    ("train.tokens", "dev.tokens", "test.tokens"),
    ("a.b.train.txt", "a.b.val.txt", "a.b.test.txt"),
    ("train.txt", "validation.txt", "test.txt"),
    ("train.txt", "x.dev.txt", "y.test.txt"),
]


@pytest.mark.parametrize("names", STYLES)
def test_styles(write, names):
    folder = folder_of(write, *names, "retrain.txt", "train.csv", "mytest.txt")
    found = find_splits(folder)
    assert found == {split: whole(folder / name) for split, name in zip(("train", "valid", "test"), names, strict=True)}
    assert list(found) == ["train", "valid", "test"]


def test_a_missing_test_is_left_out(write):
    folder = folder_of(write, "train.txt", "valid.txt")
    assert list(find_splits(folder)) == ["train", "valid"]
    with pytest.raises(DataError, match=r"no test text; expected a file such as ptb\.test\.txt"):
        find_splits(folder, requested=("test",))


@pytest.mark.parametrize(
    ("names", "split"), [(("valid.txt", "test.txt"), "train"), (("train.txt", "test.txt"), "valid"), ((), "train")]
)
def test_a_missing_split_says_what_is_there(write, names, split):
    folder = folder_of(write, *names)
    with pytest.raises(DataError) as caught:
        find_splits(folder)
    remedy = "" if names else f", or the pattern '{folder}/**' for all files as one text"
    examples = f"ptb.{split}.txt, {split}.txt or wiki.{split}.tokens"
    assert str(caught.value) == (
        f"{folder}: no {split} text; expected a file such as {examples}{remedy} "
        f"(found {', '.join(['README.md', *sorted(names)])})"
    )


def test_an_empty_folder(tmp_path):
    (tmp_path / "train.txt").mkdir()
    with pytest.raises(DataError, match=r"train\.txt: no files to read; give a corpus with text in it"):
        find_splits(tmp_path)
    (tmp_path / "train.txt").rmdir()
    with pytest.raises(DataError, match=r"no train text; .*\(found no files\)"):
        find_splits(tmp_path)


def test_a_full_folder_is_not_listed_whole(write):
    folder = folder_of(write, *[f"{letter}.csv" for letter in "abcdefgh"])
    with pytest.raises(DataError, match=r"\(found README.md, a.csv, b.csv, c.csv, d.csv, e.csv, \.\.\.\)"):
        find_splits(folder)


@pytest.mark.parametrize("second", ["dev.txt", "valid.tokens", "valid-1M.txt", "valid/text"])
def test_two_files_for_one_split(write, second):
    folder = folder_of(write, "train-0.txt", "valid.txt" if "-" not in second else "valid-10M.txt", second)
    with pytest.raises(DataError) as caught:
        find_splits(folder)
    assert f"{folder}: 2 files or folders could be the valid text, such as " in str(caught.value)
    assert second.split("/")[0] in str(caught.value) and "move those that are not meant" in str(caught.value)


def test_an_empty_split(write):
    folder = folder_of(write, "train.txt", "valid.txt")
    write("corpus/valid.txt", "")
    with pytest.raises(DataError, match=r"valid\.txt: the file is empty"):
        find_splits(folder)


def test_a_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr("os.listdir", refuse)
    with pytest.raises(DataError, match="Permission denied"):
        find_splits(tmp_path)


def test_a_plain_file_is_split_by_lines(write):
    path = write("text", "".join(f"{index:02d}\n" for index in range(40)))
    # 90 % of 40 lines of three bytes, then 5 % and 5 %
    assert find_splits(path) == {
        "train": (Span(path, 0, 108),),
        "valid": (Span(path, 108, 114),),
        "test": (Span(path, 114, 120),),
    }
    assert find_splits(path, requested=("valid",)) == {"valid": (Span(path, 108, 114),)}


def test_a_missing_path(tmp_path):
    with pytest.raises(DataError, match="No such file or directory"):
        find_splits(tmp_path / "gone")


def test_a_text_is_cut_where_the_shares_add_up_to_a_round_number():
    """0.9 + 0.05 is 0.9500000000000001 in binary."""
    assert fractions_of((0.9, 0.05)) == (0.9, 0.95)
    # a third and the rest: nothing is left for the test split
    assert fractions_of((1 / 3, 1 - 1 / 3)) == (1 / 3,)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
@pytest.mark.parametrize("find", [find_splits, find_byte_splits])
def test_a_link_to_a_file_that_was_not_fetched(write, find):
    """As git-annex and DVC leave them: the text is not read without it."""
    folder = write("corpus/train-1.txt", "a b\n" * 50).parent
    for name in ("valid.txt", "test.txt"):
        write(f"corpus/{name}", "a b\n" * 50)
    link = folder / "train-2.txt"
    link.symlink_to("gone.txt")
    with pytest.raises(DataError, match=r"train-2\.txt: is a link to a file that does not exist"):
        find(folder)
    link.unlink()
    # one that would not be read
    (folder / "test.extra.txt.gz").symlink_to("gone.txt")
    (folder / "train-1.txt.gz").symlink_to("gone.txt")
    (folder / "notes").symlink_to("gone")
    assert find(folder)
