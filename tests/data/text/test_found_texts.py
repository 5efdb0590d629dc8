"""Texts as people have them: encodings, compression, line ends, marks, folders and texts of one line."""

import bz2
import codecs
import gzip
import io
import lzma
import shutil
import subprocess
import sys
import tarfile
import types
import zipfile

import pytest

from refrain.data import find_byte_splits, find_splits, open_byte_corpus, open_word_corpus
from refrain.data.survey import survey, warnings_about
from refrain.data.text import packed
from refrain.data.text.files import blocks, whole
from refrain.data.text.forms import HEAD_BYTES, check_text
from refrain.data.text.oddities import count_replaced
from refrain.data.text.packed import byte_file, text_file
from refrain.data.text.words import split_words
from refrain.errors import DataError, UserError

LINES = "".join(f"the cat sees {number} dogs .\n" for number in range(400))
SPACES = ("\u00a0", "\u2028", "\u2029", "\x85", "\u3000", "\v", "\f", "\x1c", "\x1f", "\u2003", "\u202f")


def lines_of(corpus):
    return [split.lines for split in corpus.splits.values()]


def read(spans):
    return "".join(blocks(spans))


@pytest.mark.parametrize("space", SPACES)
def test_words_part_at_blanks_tabs_and_line_ends_alone(space):
    assert split_words(f" 10{space}000\tcats\r\n{space} a\rb  ") == [f"10{space}000", "cats", space, "a", "b"]


def test_words_of_plain_text_are_those_of_split():
    assert split_words(LINES) == LINES.split()
    assert split_words("") == split_words(" \t\r\n") == []


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_other_encodings_are_named_with_the_remedy(write, encoding):
    path = write("text.txt", LINES.encode(encoding))
    name = encoding.upper().replace("-LE", "LE").replace("-BE", "BE")
    mark = "without a" if name[-1] == "E" else "with a"
    with pytest.raises(DataError) as caught:
        text_file(path)
    assert str(caught.value) == (
        f"{path}: is {name} {mark} byte order mark, where UTF-8 is read; convert it: iconv -f {name} -t UTF-8 {path} "
        f"> {path.parent}/text.utf8.txt"
    )
    # from any folder
    if shutil.which("iconv") is None:
        return
    command = str(caught.value).partition("convert it: ")[2]
    assert subprocess.run(command, shell=True, cwd="/", timeout=60).returncode == 0
    assert (path.parent / "text.utf8.txt").read_bytes().removeprefix(codecs.BOM_UTF8) == LINES.encode()


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", ["η γάτα βλέπει\n", "кошка видит\n", "这只猫看见狗。 很好\n", "नमस्ते दुनिया\n"])
def test_utf16_of_letters_without_zero_bytes(write, encoding, text):
    path = write("a text.conllu", (text * 40).encode(encoding))
    name = encoding.upper().replace("-LE", "LE").replace("-BE", "BE")
    with pytest.raises(DataError) as caught:
        text_file(path)
    assert f"is {name} without a byte order mark" in str(caught.value)
    assert str(caught.value).endswith(f"iconv -f {name} -t UTF-8 '{path}' > '{path.parent}/a text.utf8.conllu'")


def test_a_pipe_has_no_name_to_convert():
    with pytest.raises(DataError, match=r"convert it: iconv -f UTF-16LE -t UTF-8$"):
        check_text("the cat\n".encode("utf-16-le"), "standard input")


def zipped(text):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("word/document.xml", text)
    return buffer.getvalue()


def archived(text):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("text")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            zipped(LINES),
            "is a zip archive (or an office document or e-book, which are zip archives), not a text; unzip",
        ),
        (b"%PDF-1.7\n%\xe2\xe3\n1 0 obj\n", "is a PDF document, not a text; extract its text first"),
        (archived(LINES), "is a tar archive, not a text; unpack it first: tar xf text.txt"),
        (
            b"\x7fELF\x02\x01\x01" + bytes(40) + b"code",
            "is a binary file, not a text (40 of its first 51 bytes are zero)",
        ),
        (b"caf\xe9\x00" * 3, "is a binary file"),
        (b"{\\rtf1\\ansi text}", "is an RTF document"),
    ],
    ids=["zip", "pdf", "tar", "elf", "latin-with-zeros", "rtf"],
)
def test_what_is_no_text_is_named(write, content, message):
    path = write("text.txt", content)
    with pytest.raises(DataError) as caught:
        text_file(path)
    assert f"{path}: {message}" in str(caught.value)
    # bytes are read as they are
    assert byte_file(path) == whole(path)


def test_a_few_zeros_are_read_and_counted(write):
    path = write("text.txt", LINES + "a\0b\n")
    assert text_file(path) == whole(path)
    check_text("日本\0語".encode() * 2, "text")
    # a character may be cut at the end of what is looked at
    check_text(b"\0" + "é".encode() * HEAD_BYTES, "text")


PACK = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize("name", ["text.txt.{}", "text.txt"])
def test_compressed_text_is_read_unpacked(write, ending, name):
    # the cache is that of all tests
    text = f"{name} {ending}\n{LINES}"
    path = write(name.format(ending), PACK[ending](text.encode()))
    said = []
    spans = text_file(path, said.append)
    assert read(spans) == text and spans[0].path.name == "text.txt"
    assert said == [
        f"{path}: unpacking it ({dict(gz='gzip', bz2='bzip2', xz='xz')[ending]}, {path.stat().st_size:,} bytes)"
    ]
    # found in the cache by the next
    assert text_file(path, said.append) == spans and len(said) == 1
    splits = find_splits(path)
    assert lines_of(open_word_corpus("mine", splits)) == [361, 20, 20]
    assert survey(open_word_corpus("mine", splits))["splits"]["train"]["compressed_files"] == 1


@pytest.mark.parametrize("find", [find_splits, find_byte_splits])
def test_a_path_as_a_text(write, find):
    path = write("text.txt", LINES)
    assert find(str(path)) == find(path)
    with pytest.raises(UserError, match=r"^path: must be a path \(got None\)$"):
        find(None)


def test_compressed_bytes_are_unpacked_where_the_name_says_so(write):
    packed_bytes = gzip.compress(LINES.encode(), mtime=0)
    assert read(byte_file(write("text.gz", packed_bytes))) == LINES
    named = write("text.bin", packed_bytes)
    assert byte_file(named) == whole(named)
    found = survey(open_byte_corpus("mine", find_byte_splits(write("text.gz", packed_bytes))))
    assert sum(split["tokens"] for split in found["splits"].values()) == len(LINES)
    assert "train: has 1 compressed file to unpack" in warnings_about(found)


@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize("harm", ["cut", "changed"])
def test_damaged_compressed_text(write, ending, harm):
    whole_text = PACK[ending](LINES.encode())
    middle = len(whole_text) // 2
    content = whole_text[:middle] if harm == "cut" else whole_text[:middle] + b"\xff" * 40 + whole_text[middle + 40 :]
    path = write(f"{harm}.{ending}", content)
    with pytest.raises(DataError, match=rf"{harm}\.{ending}: the \w+ data is damaged or incomplete \("):
        text_file(path)


def test_what_unpacks_to_too_much_is_refused(write, monkeypatch):
    monkeypatch.setattr(packed, "FREE_BYTES", 1 << 16)
    path = write("bomb.gz", gzip.compress(b"a " * (1 << 20)))
    with pytest.raises(DataError, match="more than 200 times its size, which no usual text does; unpack it yourself"):
        text_file(path)
    # text of the usual kind may be as large
    assert text_file(write("text.gz", gzip.compress(LINES.encode() * 20)))


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        (LINES.encode("utf-16"), "gzip data of a file that is UTF-16 with a byte order mark"),
        (archived(LINES), "gzip data of a file that is a tar archive"),
        (bz2.compress(b"a"), "is compressed twice (bzip2 in gzip); unpack it once"),
        (b"", "the file is empty once it is unpacked"),
    ],
)
def test_what_is_inside_is_judged_too(write, inner, message):
    with pytest.raises(DataError) as caught:
        text_file(write("text.gz", gzip.compress(inner)))
    assert message in str(caught.value)


def test_zstd_without_its_package(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    path = write("text.zst", b"\x28\xb5\x2f\xfd" + bytes(20))
    with pytest.raises(DataError, match=r"pip install zstandard, or unpack the file: zstd -d text\.zst"):
        text_file(path)


def test_zstd_with_its_package(write, monkeypatch):
    class Decompressor:
        def __init__(self, max_window_size):
            assert max_window_size == 1 << 27

        def stream_reader(self, file, read_across_frames):
            assert read_across_frames
            return io.BytesIO(file.read()[4:])

    monkeypatch.setitem(sys.modules, "zstandard", types.SimpleNamespace(ZstdDecompressor=Decompressor))
    assert read(text_file(write("text.zst", b"\x28\xb5\x2f\xfd" + LINES.encode()))) == LINES


def test_carriage_returns_end_lines_where_nothing_else_does(write):
    mac = write("mac.txt", LINES.replace("\n", "\r"))
    assert read(whole(mac)) == LINES
    assert lines_of(open_word_corpus("mine", find_splits(mac))) == [360, 20, 20]
    # beside newlines they are blanks
    windows = open_word_corpus("mine", find_splits(write("windows.txt", LINES.replace("\n", "\r\n"))))
    assert lines_of(windows) == [360, 20, 20] and "\r" not in "".join(windows.vocabulary.words)
    assert read(whole(write("both.txt", "a\rb\nc\rd\n"))) == "a\rb\nc\rd\n"


def test_marks_at_the_beginning_of_lines_are_left_out_and_counted(write):
    text = "\ufeffthe cat\nthe dog\n\ufeffthe eel\n\ufeff\ufeffthe fox \ufeffs\n"
    path = write("train.txt", text)
    write("valid.txt", "the cat\n")
    assert read(whole(path)) == "the cat\nthe dog\nthe eel\nthe fox \ufeffs\n"
    found = survey(open_word_corpus("mine", find_splits(path.parent)))
    assert found["splits"]["train"]["marked_lines"] == 3 and found["splits"]["valid"]["marked_lines"] == 0
    assert "train: has 3 lines with a byte order mark at the beginning, which is left out" in warnings_about(found)


def test_marks_across_blocks_are_counted_once(write, monkeypatch):
    path = write("train.txt", "\ufeffab\n\ufeffcd\n" * 9)
    write("valid.txt", "ab\n")
    for size in range(1, 12):
        monkeypatch.setattr("refrain.data.text.files.BLOCK_BYTES", size)
        assert survey(open_word_corpus("mine", find_splits(path.parent)))["splits"]["train"]["marked_lines"] == 18
        assert read(whole(path)) == "ab\ncd\n" * 9


def test_a_literal_eos_at_the_end_of_a_line_counts_once(write):
    for name, end in (("plain", "\n"), ("spelled", " <eos>\n"), ("blank", "\t<eos> \r\n")):
        for split, count in (("train", 300), ("valid", 100)):
            write(f"{name}/{split}.txt", "".join(f"a b c{end}" for _ in range(count)))
    plain, spelled, blank = (
        open_word_corpus("mine", find_splits(write(f"{name}/README", "").parent))
        for name in ("plain", "spelled", "blank")
    )
    assert [len(split.tokens) for split in plain.splits.values()] == [1200, 400]
    for corpus in (spelled, blank):
        assert corpus.vocabulary.words == plain.vocabulary.words
        assert (corpus.splits["train"].tokens.read(0, 1200) == plain.splits["train"].tokens.read(0, 1200)).all()
    found = survey(spelled)
    assert [split["literal_eos"] for split in found["splits"].values()] == [300, 100]
    assert any(
        "has 300 lines with a literal <eos> at the end, which is the end" in note for note in warnings_about(found)
    )


def test_literal_ends_elsewhere_are_reported(write):
    path = write("train.txt", "a <eos> b\n<eos> c </s>\n<eos>\n")
    write("valid.txt", "a\n")
    corpus = open_word_corpus("mine", find_splits(path.parent))
    # the last line is blank but for its end
    assert len(corpus.splits["train"].tokens) == 4 + 4 + 1
    figures = survey(corpus)["splits"]["train"]
    assert (figures["literal_eos"], figures["eos_in_lines"], figures["other_ends"]) == (1, 2, 1)
    write("train.txt", '{"text": "a b"}\n{"text": "c"},\n{ a\n')
    assert survey(open_word_corpus("mine", find_splits(path.parent)))["splits"]["train"]["json_lines"] == 2


@pytest.mark.parametrize("block", [1, 2, 3, 4, 1 << 20])
def test_what_is_replaced_is_counted(write, monkeypatch, block):
    """Invalid bytes count, and a literal U+FFFD does not, wherever the blocks end."""
    monkeypatch.setattr("refrain.data.text.files.BLOCK_BYTES", block)
    raw = "a \ufffd ü ".encode() + b"\xe4b \xff\xff " + "\ufffd 日".encode() + b" \xe6\x97"
    assert count_replaced(whole(write("text", raw))) == raw.decode(errors="replace").count("\ufffd") - 2 == 4


@pytest.mark.parametrize("block", [7, 8, 9, 10, 11, 12, 13])
def test_a_literal_eos_on_the_border_of_two_blocks(write, monkeypatch, block):
    monkeypatch.setattr("refrain.data.text.files.BLOCK_BYTES", block)
    path = write("train.txt", "aa bb cc dd <eos> \nee <eos>\n" * 3)
    write("valid.txt", "aa\n")
    assert len(open_word_corpus("mine", find_splits(path.parent)).splits["train"].tokens) == 3 * 7


def test_one_long_line_is_cut_between_words(write):
    words = [f"word{number}" for number in range(2000)]
    path = write("text8", " ".join(words))
    said = []
    parts = {name: read(spans).split() for name, spans in find_splits(path, log=said.append).items()}
    assert parts["train"] + parts["valid"] + parts["test"] == words
    assert 1750 < len(parts["train"]) < 1850 and len(parts["valid"]) > 80 and len(parts["test"]) > 80
    assert said == [f"{path}: has 1 line, and is cut between words in 3"]
    assert lines_of(open_word_corpus("mine", find_splits(path))) == [1, 1, 1]
    # the same parts where only one is asked for, and nothing is said again
    assert read(find_splits(path, requested=("test",), log=said.append)["test"]).split() == parts["test"]
    assert len(said) == 1
    two = write("two.txt", " ".join(words[:1000]) + "\n" + " ".join(words[1000:]) + "\n")
    assert [word for spans in find_splits(two).values() for word in read(spans).split()] == words


@pytest.mark.parametrize("text", ["a b c", "one two three four\n", "ant bee\n cat dog  eel\n", f"a\n{'b' * 99} c"])
def test_a_few_words_are_cut_by_their_number(write, text):
    """The last word of a short text is more of its bytes than the share of the test text."""
    parts = [read(spans).split() for spans in find_splits(write("text", text)).values()]
    assert [word for part in parts for word in part] == text.split()
    assert [len(part) for part in parts] == [len(text.split()) - 2, 1, 1]


@pytest.mark.parametrize(
    ("text", "words"), [("one", "1 word"), ("one two", "2 words"), ("one two \n", "2 words"), ("日本語" * 50, "1 word")]
)
def test_too_few_words_to_cut(write, text, words):
    message = f": 1 line of {words} cannot be split in 3; give more text, or a folder of splits"
    with pytest.raises(DataError, match=message):
        find_splits(write("text", text))


FOLDERS = {
    "wikitext-raw": ({"wiki.train.raw": 26, "wiki.valid.raw": 2, "wiki.test.raw": 2}, [26, 2, 2]),
    "babylm": ({"train_10M/one.train": 20, "train_10M/two.train": 6, "dev/one.dev": 2, "test/one.test": 2}, [26, 2, 2]),
    "babylm-flat": ({"bnc.train": 20, "childes.train": 6, "bnc.dev": 1, "childes.dev": 1, "bnc.test": 2}, [26, 2, 2]),
    "flair": (
        {"train/train_split_0": 8, "train/train_split_1": 8, "train/train_split_10": 8, "valid.txt": 2, "test.txt": 2},
        [24, 2, 2],
    ),
    "folders": (
        {"train/a.txt": 3, "train/b/c.txt": 4, "validation/a.txt": 2, "test/README": 9, "test/x.txt": 1},
        [7, 2, 1],
    ),
    "ptb-tutorial": (
        {f"ptb.{kind}{split}.txt": 4 + len(kind) for kind in ("", "char.") for split in ("train", "valid", "test")}
        | {"README": 1},
        [4, 4, 4],
    ),
    "shards": ({"train-1.txt": 1, "train-2.txt": 2, "train-10.txt": 3, "dev.txt": 2, ".train-3.txt": 9}, [6, 2]),
    "packed": ({"train.txt.gz": 5, "train.txt": 5, "valid.txt.gz": 2}, [5, 2]),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_as_they_come(write, name):
    files, wanted = FOLDERS[name]
    for file, count in files.items():
        text = "".join(f"a b {file.split('/')[-1]} {number}\n" for number in range(count)).encode()
        write(f"corpus/{file}", gzip.compress(text) if file.endswith(".gz") else text)
    folder = write("corpus/.hidden", "x").parent
    assert lines_of(open_word_corpus("mine", find_splits(folder))) == wanted
    if "folders" not in name:
        found = survey(open_byte_corpus("mine", find_byte_splits(folder)))
        assert [split["lines"] for split in found["splits"].values()] == wanted


def test_shards_are_joined_by_the_value_of_their_numbers(write):
    for number in (10, 9, 1):
        folder = write(f"corpus/train_{number}.txt", f"{number}\n").parent
    write("corpus/valid.txt", "v\n")
    assert read(find_splits(folder)["train"]) == "1\n9\n10\n"


def test_different_files_of_one_split_are_joined_and_named(write):
    for name in ("bnc.train", "childes.train", "valid.txt"):
        folder = write(f"corpus/{name}", f"{name}\n").parent
    said = []
    assert read(find_splits(folder, log=said.append)["train"]) == "bnc.train\nchildes.train\n"
    assert said == [f"{folder}: the train text is bnc.train, childes.train, joined in this order"]


def test_two_sizes_of_one_corpus_are_ambiguous(write):
    for name in ("train_10M/a.train", "train_100M/a.train", "dev/a.dev"):
        folder = write(f"corpus/{name}", "a\n").parents[1]
    with pytest.raises(DataError, match="could be the train text, such as train_10M/ and train_100M/; move those"):
        find_splits(folder)


def test_the_folder_above_is_answered_with_the_one_below(write):
    for split in ("train", "valid"):
        write(f"above/data/ptb.{split}.txt", "a\n")
    with pytest.raises(
        DataError, match=r"no train text; .*; its folder data/ holds splits, give that \(found README, data/\)"
    ):
        find_splits(write("above/README", "x").parent)


def test_what_a_survey_says_of_odd_text(write):
    path = write("train.txt", "10\u00a0000 cats\u3000\na\0b caf\u00e9 cafe\u0301\n" * 3)
    write("valid.txt", "zebra\n")
    corpus = open_word_corpus("mine", find_splits(path.parent))
    assert corpus.vocabulary.unknown_count == 0
    found = survey(corpus)
    figures = found["splits"]["train"]
    assert (figures["words_with_other_blanks"], figures["zero_bytes"], figures["lines_not_nfc"]) == (6, 3, 3)
    assert figures["carriage_returns"] == 0 and found["unknown_in_train"] == 0
    notes = "\n".join(warnings_about(found))
    assert "train: has 3 zero bytes inside of words" in notes
    assert "train: has 3 lines outside of the normal form NFC; data.normalise=nfc" in notes
    assert "valid: reads 1 word as <unk>, which does not occur in train" in notes
    assert "train with data.min_count=2" in notes


INNER = {"utf-16": "a b\n".encode("utf-16"), "gzip": gzip.compress(b"a b\n", mtime=0), "zip": b"PK\x03\x04" + bytes(60)}


@pytest.mark.parametrize("inner", INNER.values(), ids=INNER)
def test_what_was_unpacked_as_bytes_is_no_text(write, inner):
    """Whether it is refused does not depend on the cache."""
    path = write("text.txt.gz", gzip.compress(inner * 40))
    byte_file(path)
    with pytest.raises(DataError) as cached:
        text_file(path)
    again = write("other/text.txt.gz", gzip.compress(inner * 40, compresslevel=1))
    with pytest.raises(DataError) as fresh:
        text_file(again)
    assert str(cached.value).replace(str(path.parent), "") == str(fresh.value).replace(str(again.parent), "")
    if inner[:2] == b"\xff\xfe":
        assert f"zcat {again} | iconv -f UTF-16 -t UTF-8 > {again.parent}/text.utf8.txt" in str(fresh.value)
