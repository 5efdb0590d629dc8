"""A survey counts what can be counted by hand."""

import pytest

from refrain.data import find_splits, open_byte_corpus, open_word_corpus
from refrain.data.survey import survey, warnings_about
from refrain.data.text.files import whole
from refrain.data.units.word.preparation import Preparation
from refrain.data.units.word.survey import LONG_LINE_WORDS

TEXTS = {
    "train.txt": "a b c d e\n\na <unk> b\n",
    # the first line stands in train, the second too but is short, the third does not
    "valid.txt": "a b c d e\na <unk> b\na x y z <unk>\n \n",
}


RARE = (
    "literal_eos", "eos_in_lines", "other_ends", "json_lines", "compressed_files", "marked_lines", "carriage_returns",
    "zero_bytes", "words_with_other_blanks", "lines_not_nfc",
)  # fmt: skip


@pytest.fixture
def folder(write):
    for name, text in TEXTS.items():
        write(f"corpus/{name}", text)
    return write("corpus/test.txt", "a " * LONG_LINE_WORDS + "a\nno end").parent


def test_words(folder):
    found = survey(open_word_corpus("mine", find_splits(folder)))
    assert found["corpus"] == "mine"
    # a to e, <eos>, <unk>
    assert found["vocabulary"] == 7
    train, valid, test = found["splits"].values()
    # counted in other tests
    for split in (train, valid, test):
        assert not any(split.pop(key) for key in RARE)
    digests = [split.pop("sha256") for split in (train, valid, test)]
    assert all(len(digest) == 64 for digest in digests)
    assert train == {"tokens": 11, "lines": 3, "unseen": 0, "literal_unk": 1, "empty_lines": 1, "long_lines": 0}
    assert valid == {
        "tokens": 17,
        "lines": 4,
        "unseen": 3,
        "literal_unk": 2,
        "empty_lines": 1,
        "long_lines": 0,
        "lines_in_train": 1,
    }
    assert test == {
        "tokens": LONG_LINE_WORDS + 1 + 1 + 2 + 1,
        "lines": 2,
        "unseen": 2,
        "literal_unk": 0,
        "empty_lines": 0,
        "long_lines": 1,
        "lines_in_train": 0,
    }


def test_what_a_user_should_know(folder):
    assert warnings_about(survey(open_word_corpus("mine", find_splits(folder)))) == [
        "train: only 11 tokens",
        # 3 of 17 and 1 of 4
        "valid: 17.6% of the words are rare in train, or unseen there, and read as <unk>; with "
        "data.lowercase=true, data.tokenise=true or data.unit=subword they may be fewer",
        "valid: 25.0% of the lines also occur in train",
        "valid: only 17 tokens",
        "test: has 1 line of over 2000 words; is a line a sentence?",
    ]


def test_a_preparation_that_is_done_is_not_advised(folder):
    for done, left in (
        (Preparation(lowercase=True), "data.tokenise=true or data.unit=subword"),
        (Preparation(lowercase=True, tokenise=True), "data.unit=subword"),
    ):
        lines = warnings_about(survey(open_word_corpus("mine", find_splits(folder), preparation=done)))
        assert any(line.endswith(f"read as <unk>; with {left} they may be fewer") for line in lines)


def test_bytes(folder):
    found = survey(open_byte_corpus("mine", find_splits(folder)))
    assert found["vocabulary"] == 256
    assert {name: split["tokens"] for name, split in found["splits"].items()} == {
        "train": len(TEXTS["train.txt"]),
        "valid": len(TEXTS["valid.txt"]),
        "test": 2 * LONG_LINE_WORDS + 2 + 6,
    }
    train = found["splits"]["train"]
    assert (train["files"], train["lines"], train["longest_line"], train["invalid_utf8"]) == (1, 3, 9, 0)
    assert train["byte_values"] == len(set(TEXTS["train.txt"]))


@pytest.mark.parametrize("block", [1, 2, 3, 7, 1 << 20])
def test_figures_of_bytes_do_not_depend_on_blocks(write, monkeypatch, block):
    monkeypatch.setattr("refrain.data.units.byte.survey.BLOCK_BYTES", block)
    monkeypatch.setattr("refrain.data.units.byte.survey.RELEASE_BLOCKS", 2)
    # invalid: a byte that begins nothing, a character cut short by a letter, and one by the end
    for content, lines, longest, invalid in (
        ("é\n\n日本 long\nx".encode(), 3, 11, 0),
        (b"\xff\n\xe6\x97x\n\xe6\x97", 2, 3, 5),
        (b"\n", 1, 0, 0),
        (b"no end", 0, 6, 0),
    ):
        found = survey(open_byte_corpus("mine", {"all": whole(write("text", content))}))["splits"]["all"]
        assert (found["lines"], found["longest_line"], found["invalid_utf8"]) == (lines, longest, invalid)
        assert found["byte_values"] == len(set(content))
