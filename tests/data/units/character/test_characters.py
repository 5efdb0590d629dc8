"""Characters: ids by count, one unknown character, and preparation in blocks that need little memory."""

import random
import tracemalloc
from collections import Counter

import pytest

from refrain.data import UNITS, CharacterVocabulary, TextOptions, text_size
from refrain.data.text import files
from refrain.data.text.files import blocks, whole
from refrain.data.units.character.vocabulary import build_character_vocabulary
from refrain.errors import DataError

TEXT = "aab\u00e9\n\U0001f600 \ufffda\n"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "cache"))


def opened(path, vocabulary=None, **options):
    return UNITS["character"].open("text", {"train": whole(path)}, TextOptions(**options), vocabulary, str)


def ids_of(corpus):
    tokens = corpus.splits["train"].tokens
    return [int(index) for index in tokens.read(0, len(tokens))]


def test_ids_are_by_count_and_then_by_spelling(write):
    vocabulary = opened(write("text.txt", TEXT)).vocabulary
    # the marks are sorted as <eos> and <unk>, which are before letters and after blanks
    assert "".join(vocabulary) == "a\n \ufffdb\u00e9\U0001f600"
    assert vocabulary.unknown_count == 1
    assert [vocabulary.token(index) for index in range(4)] == ["a", "<U+000A>", "<U+0020>", "\ufffd"]


def test_rare_characters_are_the_unknown_one(write):
    corpus = opened(write("text.txt", TEXT), min_count=2)
    assert set(corpus.vocabulary) == {"a", "\n", "\ufffd"}
    assert corpus.vocabulary.decode(ids_of(corpus)) == "aa\ufffd\ufffd\n\ufffd\ufffd\ufffda\n"
    # the U+FFFD of the text itself is no unseen character
    assert (corpus.splits["train"].unseen, corpus.vocabulary.unknown_count) == (4, 5)
    assert "aa" in corpus.vocabulary and "ab" not in corpus.vocabulary


def test_the_most_frequent_characters_are_kept():
    counts = Counter("aaabbc\n")
    assert set(build_character_vocabulary(counts, max_characters=4)) == {"a", "b", "\n", "\ufffd"}
    assert "".join(build_character_vocabulary(counts, order="first-seen")) == "abc\n\ufffd"


def test_a_damaged_document(write):
    for characters in ("aa\n\ufffd", "ab\n", "ab\ufffd"):
        with pytest.raises(ValueError, match="each character once"):
            CharacterVocabulary(characters)
    with pytest.raises(ValueError, match="holds no characters"):
        UNITS["character"].vocabulary_from({"characters": ["a"]})


def test_a_long_line_without_blanks_is_read_in_blocks(write, monkeypatch):
    draw = random.Random(1)
    text = "".join(draw.choices("a\u00e9\u65e5\U0001f600\r", k=4000)) + "\n\ufeffb\n"
    path = write("line.txt", text)
    for size in (7, 8, 64):
        monkeypatch.setattr(files, "BLOCK_BYTES", size)
        parts = list(blocks(whole(path), whole_lines=False, whole_words=False))
        assert "".join(parts) == text.replace("\ufeff", "")
        assert max(len(part.encode()) for part in parts) < 2 * size + 4


@pytest.mark.parametrize("errors", ["strict", "replace", "surrogateescape"])
def test_blocks_of_invalid_text_are_those_of_the_whole(write, monkeypatch, errors):
    path = write("bad.txt", b"\xe2\x82a\x80\x80\x80\x80\x80\xf0\x9f\x98\x80\xf0\x9fz\xff" * 9)
    monkeypatch.setattr(files, "BLOCK_BYTES", 5)
    read = blocks(whole(path), errors, whole_lines=False, whole_words=False)
    if errors == "strict":
        with pytest.raises(DataError, match="invalid UTF-8 at byte 0"):
            list(read)
    else:
        assert "".join(read) == path.read_bytes().decode("utf-8", errors) + "\n"


def test_preparation_needs_little_memory(write, monkeypatch):
    monkeypatch.setattr(files, "BLOCK_BYTES", 1 << 14)
    path = write("long.txt", "\u65e5\u672c\u8a9e" * 100_000)
    tracemalloc.start()
    try:
        corpus = opened(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(corpus.splits["train"].tokens) == 300_001
    # a list of all ids would have 2.4 MB
    assert peak < 1.5e6


def test_the_size_of_a_text_is_the_same_for_every_unit(write, monkeypatch):
    path = write("text.txt", "\u00e9t\u00e9  ab\u65e5\n\n x <eos>\nend <eos> of\ttext")
    sizes = {}
    for unit in ("word", "character", "byte"):
        corpus = UNITS[unit].open("text", {"train": whole(path)}, TextOptions(), None, str)
        for block in (1 << 20, 6):
            monkeypatch.setattr("refrain.data.sizes.BLOCK_BYTES", block)
            monkeypatch.setattr(files, "BLOCK_BYTES", block)
            sizes[unit, block] = text_size(corpus, "train")
    # été ab日 | end | x <eos> | end <eos> of text <end of line>: an <eos> at the end of a line is counted once
    assert sizes["word", 1 << 20][1:] == (41, 37, 11)
    assert sizes["word", 1 << 20].tokens == 11
    assert sizes["character", 1 << 20][1:] == sizes["character", 6][1:] == (41, 37, 11)
    # the file has no newline at its end
    assert sizes["byte", 1 << 20][1:] == (40, 36, 10)
