"""Tables of labelled texts, in the spellings that are about."""

import csv

import pytest

from refrain.data.text.labelled import Labelled, read_labelled
from refrain.errors import DataError, UserError

CSV = 'label,sentence\n1,"Good, really"\n0,Bad\n'
WANTED = Labelled(["Good, really", "Bad"], ["1", "0"])


@pytest.fixture
def folder(tmp_path, write):
    """Three tables as they are commonly named, of which tests replace one."""
    for split in ("train", "dev", "test"):
        write(f"{split}_binary_sent.csv", CSV)
    return tmp_path


def test_a_folder_of_csv_files(folder):
    assert read_labelled(folder) == {"train": WANTED, "valid": WANTED, "test": WANTED}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.tsv", "sentence\tlabel\nGood, really\t1\nBad\t0\n"),
        ("train.tsv", "\ufefflabel\tid\ttext\r\n1\t7\tGood, really\r\n\r\n0\t8\tBad"),
        ("train.txt", "1\tGood, really\n0\tBad\n"),
        ("imdb-train.csv", 'Review,Sentiment\n"Good, really", 1\nBad,0\n'),
    ],
)
def test_other_tables(folder, write, name, content):
    (folder / "train_binary_sent.csv").unlink()
    write(name, content)
    assert read_labelled(folder)["train"] == WANTED


def test_a_text_may_be_longer_than_the_limit_of_python(folder, write):
    before, long = csv.field_size_limit(), "word " * 30_000
    write("train_binary_sent.csv", f'label,text\n1,"{long}"\n0,Bad\n')
    assert read_labelled(folder)["train"] == Labelled([long, "Bad"], ["1", "0"])
    assert csv.field_size_limit() == before


def test_what_a_text_may_hold(folder, write):
    write("train_binary_sent.csv", 'label,text\npos,"He said ""no"".\nTwice"\nneg,a\u2028b\n')
    for split in ("dev", "test"):
        write(f"{split}_binary_sent.csv", "label,text\npos,x\nneg,\n")
    tables = read_labelled(folder)
    assert tables["train"] == Labelled(['He said "no".\nTwice', "a\u2028b"], ["pos", "neg"])
    assert tables["test"].texts == ["x", ""]
    (folder / "train_binary_sent.csv").unlink()
    write("train.tsv", 'pos\tHe said "no\u2028"\nneg\tb\n')
    assert read_labelled(folder)["train"].texts == ['He said "no\u2028"', "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the table is empty"),
        ("label,sentence\n", "the table has no rows"),
        ("sentence\nGood\n", ":1: no column for the label; the first line must name one of label, class"),
        ("label,words\n1,Good\n", ":1: no column for the text; the first line must name one of sentence, text"),
        ("1,Good\n0,Bad\n", ":1: no column for the label"),
        ("label,sentence\n1,Good\n0\n", ":3: 1 column, at least 2 are needed"),
        ('label,sentence\n1,"Good\n', "unexpected end of data; correct the quotes of the table"),
        ("label,sentence\n1,Good\n1,Fine\n", r"two labels are needed, the training table has 1 \('1'\)"),
        ("label,sentence\n1,a\n2,b\n3,c\n", r"two labels are needed, the training table has 3 \('1', '2', '3'\)"),
        ("label,sentence\n1,a\n2,b\n", "the valid table has a label '0' that the training table lacks"),
        (b"label,sentence\n1,caf\xe9\n", r"invalid UTF-8 at byte 20 \(0xe9\)"),
    ],
)
def test_tables_that_do_not_do(folder, write, content, message):
    write("train_binary_sent.csv", content)
    with pytest.raises(DataError, match=message):
        read_labelled(folder)


def test_invalid_bytes_can_be_replaced(folder, write):
    write("train_binary_sent.csv", b"label,sentence\n1,caf\xe9\n0,b\n")
    assert read_labelled(folder, "replace")["train"].texts == ["caf\ufffd", "b"]


def test_a_split_with_one_label_only(folder, write):
    write("test_binary_sent.csv", "label,sentence\n1,a\n")
    with pytest.raises(DataError, match="the test table has no row labelled '0'"):
        read_labelled(folder)


def test_a_plain_file_of_another_width(folder, write):
    (folder / "train_binary_sent.csv").unlink()
    write("train.txt", "1 Good\n0 Bad\n")
    with pytest.raises(DataError, match="no column for the label"):
        read_labelled(folder)


def test_tables_that_are_missing_or_more_than_one(folder, write):
    write("dev.tsv", "1\ta\n0\tb\n")
    with pytest.raises(DataError, match=r"2 files could be the valid table: dev.tsv, dev_binary_sent.csv; keep one"):
        read_labelled(folder)
    for file in ("dev.tsv", "dev_binary_sent.csv"):
        (folder / file).unlink()
    with pytest.raises(
        DataError, match=r"no valid table; expected a file such as dev.csv \(found test_binary_sent.csv"
    ):
        read_labelled(folder)
    with pytest.raises(DataError, match="No such file or directory"):
        read_labelled(folder / "gone")


def test_a_folder_as_a_text(folder):
    assert read_labelled(str(folder)) == read_labelled(folder)
    with pytest.raises(UserError, match=r"^folder: must be a path \(got None\)$"):
        read_labelled(None)
    with pytest.raises(UserError, match=r"^errors: must be one of strict, replace \(got 'ignore'\)$"):
        read_labelled(folder, "ignore")


@pytest.mark.parametrize(
    ("name", "content", "remedy"),
    [
        ("train.csv", "label,sentence\n1,good, but far too long\n", "put a text with commas in quotes"),
        ("train.tsv", "label\tsentence\n0\ta\tb\n", "replace the tabs inside of texts"),
        ("train.txt", "1\tgood\n0\ta\tb\n", "replace the tabs inside of texts"),
    ],
)
def test_a_text_with_a_separator_of_its_own_is_not_cut(folder, write, name, content, remedy):
    (folder / "train_binary_sent.csv").unlink()
    write(name, content)
    with pytest.raises(DataError, match=rf"{name}:2: 3 columns, where the first line has 2; {remedy}"):
        read_labelled(folder)
    # empty ones at the end are those of a table program
    head, between = content.splitlines()[0], "," if name.endswith(".csv") else "\t"
    write(name, "\n".join([head, f"1{between}good{between * 2}", f"0{between}bad{between}", ""]))
    assert read_labelled(folder)["train"].texts[-2:] == ["good", "bad"]


def test_a_table_in_another_encoding(folder, write):
    write("train_binary_sent.csv", CSV.replace("Bad", "Mal\u00e9").encode("latin-1"))
    with pytest.raises(UserError, match="iconv -f LATIN1"):
        read_labelled(folder)
