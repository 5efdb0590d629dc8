"""Every word of a text is a token, prepared files are found again by content, and damage is noticed."""

import json
import random

import numpy as np
import pytest

from refrain.data import TokenFile, WordVocabulary, find_splits, open_word_corpus
from refrain.data.text.files import Span, whole
from refrain.data.text.token_file import id_dtype, write_tokens
from refrain.data.units.word.preparation import Preparation
from refrain.data.units.word.vocabulary import EOS, UNK
from refrain.errors import DataError


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache that holds nothing yet."""
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def spans_of(write, **texts):
    return {split: whole(write(f"{split}.txt", text)) for split, text in texts.items()}


def words_of_split(corpus, split):
    return [spelling.text.decode() for spelling in corpus.spellings(split)]


def prepared(cache):
    return sorted((cache / "words").iterdir())


def test_a_corpus_of_five_tokens(write, own_cache):
    corpus = open_word_corpus("five", spans_of(write, train="b a b\n", valid="a c\n"))
    # b 2, then <eos>, a 1 each by spelling, then <unk> 0
    assert corpus.vocabulary.words == ["b", EOS, "a", UNK]
    assert corpus.splits["train"].tokens.tokens.tolist() == [0, 2, 0, 1]
    assert corpus.splits["valid"].tokens.tokens.tolist() == [2, 3, 1]
    assert (corpus.splits["train"].unseen, corpus.splits["valid"].unseen) == (0, 1)
    assert words_of_split(corpus, "valid") == ["a", "c", EOS]


@pytest.mark.parametrize("limits", [{}, {"min_count": 3}, {"max_words": 4}, {"vocabulary_from": "all"}])
@pytest.mark.parametrize("order", ["descending", "ascending", "first-seen"])
def test_no_word_is_dropped(write, own_cache, order, limits):
    draw = random.Random(3)
    texts, words, lines = {}, {}, {}
    for split, letters in (("train", "abcdef"), ("valid", "abcdefxyz"), ("test", "uvw")):
        rows = [draw.choices([*letters, UNK], k=draw.randint(0, 8)) for _ in range(50)]
        texts[split] = "".join("  ".join(row) + " \n" for row in rows)
        words[split], lines[split] = [word for row in rows for word in [*row, EOS]], len(rows)
    corpus = open_word_corpus("text", spans_of(write, **texts), order=order, **limits)
    index = corpus.vocabulary.index
    for name, split in corpus.splits.items():
        assert len(split.tokens) == len(words[name])
        assert split.lines == lines[name]
        assert split.tokens.tokens.tolist() == [index.get(word, index[UNK]) for word in words[name]]
        assert split.unseen == sum(word not in index for word in words[name])
        assert words_of_split(corpus, name) == words[name]


def test_a_last_line_without_its_end_is_a_line(write, own_cache):
    corpus = open_word_corpus("text", spans_of(write, train="a\nb", valid="\n"))
    assert corpus.splits["train"].lines == 2
    assert words_of_split(corpus, "train") == ["a", EOS, "b", EOS]
    assert corpus.splits["valid"].tokens.tokens.tolist() == [corpus.vocabulary.line_end]


def test_windows_line_ends_and_a_byte_order_mark_change_nothing(write, own_cache):
    plain = open_word_corpus("plain", spans_of(write, train="a b\nc\n"))
    odd = open_word_corpus("odd", spans_of(write, train=b"\xef\xbb\xbfa b\r\nc\r\n"))
    assert odd.vocabulary.words == plain.vocabulary.words
    assert odd.splits["train"].tokens.tokens.tolist() == plain.splits["train"].tokens.tokens.tolist()


def test_words_across_the_border_of_two_blocks(write, own_cache):
    text = "ab cd\n" * 180_000
    corpus = open_word_corpus("long", spans_of(write, train=text))
    assert len(text) > 1 << 20
    ids = corpus.splits["train"].tokens.tokens.reshape(-1, 3)
    assert np.array_equal(np.unique(ids, axis=0), [[corpus.vocabulary.index[word] for word in ("ab", "cd", EOS)]])
    assert len(ids) == 180_000


def test_a_plain_file_is_cut_into_the_same_tokens(write, own_cache):
    path = write("plain.txt", "".join(f"w{index % 7} w{index % 3}\n" for index in range(60)))
    corpus = open_word_corpus("plain", find_splits(path))
    joined = [word for split in ("train", "valid", "test") for word in words_of_split(corpus, split)]
    assert joined == path.read_text().replace("\n", f" {EOS} ").split()
    assert [split.lines for split in corpus.splits.values()] == [54, 3, 3]


def test_a_vocabulary_that_is_given_is_used(write, own_cache):
    vocabulary = WordVocabulary(["z", EOS, "a", UNK])
    corpus = open_word_corpus("text", spans_of(write, all="a b z\n"), vocabulary=vocabulary)
    assert corpus.splits["all"].tokens.tokens.tolist() == [2, 3, 0, 1]
    # the same text for another vocabulary is another token file
    other = open_word_corpus("text", spans_of(write, all="a b z\n"), vocabulary=WordVocabulary(["a", EOS, "z", UNK]))
    assert other.splits["all"].tokens.tokens.tolist() == [0, 3, 2, 1]
    assert len(prepared(own_cache)) == 2


def test_invalid_utf8_leaves_nothing_behind(write, own_cache):
    spans = spans_of(write, train=b"a b\n", valid=b"a \xff\n")
    with pytest.raises(DataError, match=r"valid\.txt: invalid UTF-8 at byte 2"):
        open_word_corpus("text", spans)
    assert prepared(own_cache) == []
    corpus = open_word_corpus("text", spans, errors="replace")
    assert words_of_split(corpus, "valid") == ["a", "\ufffd", EOS]
    assert corpus.splits["valid"].unseen == 1


def test_tokens_are_written_once_and_mapped(write, own_cache):
    said = []
    spans = spans_of(write, train="a b\n")
    first = open_word_corpus("text", spans, log=said.append)
    (folder,) = prepared(own_cache)
    stamp = (folder / "train.bin").stat().st_mtime_ns
    second = open_word_corpus("text", spans, log=said.append)
    assert said == ["preparing text: 4 bytes of text"]
    assert prepared(own_cache) == [folder]
    assert (folder / "train.bin").stat().st_mtime_ns == stamp
    assert first.splits["train"].tokens.tokens.tolist() == second.splits["train"].tokens.tokens.tolist()
    # a view of the map, not a copy of the file
    assert not second.splits["train"].tokens.tokens.flags.owndata
    assert not second.splits["train"].tokens.tokens.flags.writeable


def test_a_changed_source_is_another_token_file(write, own_cache):
    before = open_word_corpus("text", spans_of(write, train="a b\n"))
    after = open_word_corpus("text", spans_of(write, train="b c\n"))
    assert len(prepared(own_cache)) == 2
    assert (sorted(before.vocabulary.words), sorted(after.vocabulary.words)) == (
        [EOS, UNK, "a", "b"],
        [EOS, UNK, "b", "c"],
    )
    open_word_corpus("text", spans_of(write, train="a b\n"))
    assert len(prepared(own_cache)) == 2


SETTINGS = [
    {"order": "ascending"},
    {"min_count": 2},
    {"max_words": 3},
    {"vocabulary_from": "all"},
    {"errors": "replace"},
]


def test_other_settings_are_another_token_file(write, own_cache):
    spans = spans_of(write, train="a b\n", valid="c\n")
    for count, settings in enumerate([{}, *SETTINGS], 1):
        open_word_corpus("text", spans, **settings)
        assert len(prepared(own_cache)) == count


def cut_tokens(folder):
    content = (folder / "train.bin").read_bytes()
    (folder / "train.bin").write_bytes(content[:-2])


def odd_size(folder):
    (folder / "train.bin").write_bytes(b"abc")


def empty_tokens(folder):
    (folder / "train.bin").write_bytes(b"")


def no_tokens(folder):
    (folder / "train.bin").unlink()


def no_header(folder):
    (folder / "corpus.json").unlink()


def broken_header(folder):
    (folder / "corpus.json").write_text("{")


def other_header(folder):
    (folder / "corpus.json").write_text("[1, 2]")


def other_split(folder):
    header = json.loads((folder / "corpus.json").read_text())
    header["splits"] = {"valid": header["splits"]["train"]}
    (folder / "corpus.json").write_text(json.dumps(header))


def broken_words(folder):
    (folder / "vocabulary.json").write_text('{"unit": "word", "words": ["a"]}')


@pytest.mark.parametrize(
    "damage",
    [cut_tokens, odd_size, empty_tokens, no_tokens, no_header, broken_header, other_header, other_split, broken_words],
)
def test_a_damaged_corpus_says_what_to_do(write, own_cache, damage):
    spans = spans_of(write, train="a b\n")
    open_word_corpus("text", spans)
    (folder,) = prepared(own_cache)
    damage(folder)
    with pytest.raises(DataError) as caught:
        open_word_corpus("text", spans)
    assert str(caught.value).startswith(f"{folder}: the prepared corpus is damaged (")
    assert str(caught.value).endswith("); delete this folder and try again")


@pytest.mark.parametrize(("size", "dtype"), [(2, "uint16"), (65536, "uint16"), (65537, "uint32")])
def test_ids_fit_their_type(size, dtype):
    assert id_dtype(size).name == dtype
    assert np.iinfo(id_dtype(size)).max >= size - 1


def test_a_token_file_reads_a_stretch(tmp_path):
    path = tmp_path / "ids.bin"
    assert write_tokens(path, [np.array([1, 2, 3], np.uint16), np.array([40000], np.uint16)]) == 4
    assert TokenFile(path, np.uint16).tokens.tolist() == [1, 2, 3, 40000]
    part = TokenFile(path, np.uint16, start=2, stop=6)
    assert (len(part), part.tokens.tolist()) == (2, [2, 3])
    part.release()
    assert part.tokens.tolist() == [2, 3]


def test_the_ends_of_files_decide_the_tokens_too(write, own_cache):
    """The same bytes in one file and in two, the first of which ends within a line."""
    several = (*whole(write("1.txt", "one two")), *whole(write("2.txt", "three\n")))
    one = whole(write("train.txt", "one twothree\n"))
    split = open_word_corpus("several", {"train": several}).splits["train"]
    corpus = open_word_corpus("one", {"train": one})
    assert split.sha256 == corpus.splits["train"].sha256 and split.layout and not corpus.splits["train"].layout
    assert words_of_split(corpus, "train") == ["one", "twothree", EOS]
    # as for the text of a trained model, which is looked up by its vocabulary
    for spans, tokens in ((one, 3), (several, 5)):
        read = open_word_corpus("read", {"all": spans}, vocabulary=corpus.vocabulary)
        assert len(read.splits["all"].tokens) == tokens


def test_the_line_ends_of_the_file_decide_the_tokens_of_a_part(write, own_cache):
    """The same bytes from a file whose lines end with carriage returns, and from one where these are blanks."""
    returns, newlines = write("returns.txt", b"a\rb\rc"), write("newlines.txt", b"a\rb\rc\n")
    for path, lines in ((returns, 3), (newlines, 1)):
        split = open_word_corpus("part", {"train": (Span(path, 0, 5),)}).splits["train"]
        assert (split.lines, bool(split.layout)) == (lines, lines == 3)


def test_tokenised_texts_are_apart_from_what_earlier_versions_prepared(write, own_cache):
    """Their tokens differ, and their key would be the same."""
    spans = spans_of(write, train="J. Smith said <unk> .\n", valid="he\n", test="it\n")
    open_word_corpus("mine", spans, preparation=Preparation(tokenise=True))
    assert (own_cache / "tokenised-words").is_dir() and not (own_cache / "words").exists()
