"""Words get ids in the requested order, cuts leave nothing out, and decoding undoes encoding."""

import random
from collections import Counter

import pytest

from refrain.data import ByteVocabulary, WordVocabulary, build_vocabulary, vocabulary_from
from refrain.data.units.word.vocabulary import EOS, UNK, words_of
from refrain.errors import DataError

# c 3 times, <eos> 3, b 2, a 2, d once; <unk> never
TEXT = "c b a\nc c b\na d\n"
ORDERS = {
    # frequent first, ties by spelling ("<" stands before letters)
    "descending": [EOS, "c", "a", "b", "d", UNK],
    # rare first (<unk> 0, d 1, two of 2, two of 3), ties as first seen
    "ascending": [UNK, "d", "b", "a", "c", EOS],
    # <unk> does not stand in the text and comes last
    "first-seen": ["c", "b", "a", EOS, "d", UNK],
}


@pytest.mark.parametrize(("order", "wanted"), ORDERS.items())
def test_orders(order, wanted):
    assert build_vocabulary(Counter(words_of(TEXT)), order=order).words == wanted


TIES = {
    ("descending", "spelling"): ORDERS["descending"],
    ("descending", "first-seen"): ["c", EOS, "b", "a", "d", UNK],
    ("ascending", "spelling"): [UNK, "d", "a", "b", EOS, "c"],
    ("ascending", "first-seen"): ORDERS["ascending"],
}


@pytest.mark.parametrize(("order", "ties"), TIES)
def test_words_of_equal_count_are_ordered_by_spelling_or_as_first_seen(order, ties):
    assert build_vocabulary(Counter(words_of(TEXT)), order=order, ties=ties).words == TIES[order, ties]


def test_a_literal_unk_keeps_its_place():
    text = "a <unk> a\n<unk> <unk> b\n"
    counts = Counter(words_of(text))
    # <unk> 3, <eos> 2, a 2, b 1
    assert build_vocabulary(counts).words == [UNK, EOS, "a", "b"]
    assert build_vocabulary(counts, order="first-seen").words == ["a", UNK, EOS, "b"]


def test_the_order_counts_unk_with_the_words_it_stands_for():
    # one word three times, four words once: <unk> then stands four times, before the rest
    counts = Counter(words_of("a a a p q r s\n"))
    assert build_vocabulary(counts, min_count=2).words == [UNK, "a", EOS]
    assert build_vocabulary(counts).words == ["a", EOS, "p", "q", "r", "s", UNK]


def test_min_count_cuts_words_but_never_the_two_marks():
    counts = Counter(words_of(TEXT))
    assert build_vocabulary(counts, min_count=2).words == [EOS, "c", "a", "b", UNK]
    assert build_vocabulary(counts, min_count=3).words == [UNK, EOS, "c"]
    assert sorted(build_vocabulary(counts, min_count=100).words) == [EOS, UNK]


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        (2, {EOS, UNK}),
        (3, {EOS, UNK, "c"}),
        # a and b stand equally often, the first by spelling is kept
        (4, {EOS, UNK, "c", "a"}),
        (5, {EOS, UNK, "c", "a", "b"}),
        (6, {EOS, UNK, "c", "a", "b", "d"}),
        (99, {EOS, UNK, "c", "a", "b", "d"}),
    ],
)
@pytest.mark.parametrize("order", ORDERS)
def test_max_words_counts_the_two_marks(order, size, wanted):
    vocabulary = build_vocabulary(Counter(words_of(TEXT)), order=order, max_words=size)
    assert set(vocabulary.words) == wanted
    assert len(vocabulary) == len(wanted)


def test_both_limits_together():
    assert set(build_vocabulary(Counter(words_of(TEXT)), min_count=2, max_words=4).words) == {EOS, UNK, "c", "a"}


def test_a_text_without_words_has_a_vocabulary_of_two():
    assert sorted(build_vocabulary(Counter()).words) == [EOS, UNK]


def test_encoding_and_decoding():
    vocabulary = WordVocabulary(["a", UNK, "b", EOS])
    assert vocabulary.encode("a  b\n\nb zzz") == [0, 2, 3, 3, 2, 1]
    assert vocabulary.decode([0, 2, 3, 3, 2, 1]) == "a b\n\nb <unk>"
    assert [vocabulary.token(index) for index in range(4)] == ["a", UNK, "b", EOS]
    assert (vocabulary.unknown, vocabulary.line_end) == (1, 3)
    assert vocabulary.encode("") == []
    assert vocabulary.decode([]) == ""


def test_decoding_undoes_encoding_of_tidy_text():
    draw = random.Random(1)
    vocabulary = WordVocabulary([EOS, UNK, "a", "bb", "é", "日本"])
    for _ in range(200):
        lines = [" ".join(draw.choices(vocabulary.words[2:], k=draw.randint(0, 5))) for _ in range(draw.randint(1, 4))]
        text = "\n".join(lines)
        assert vocabulary.decode(vocabulary.encode(text)) == text


def test_words_of():
    assert words_of(" a\tb \r\n\n c") == ["a", "b", EOS, EOS, "c"]
    # nothing but the newline ends a line
    assert words_of("a\vb\rc\u2028d\n") == ["a\vb", "c\u2028d", EOS]


@pytest.mark.parametrize("words", [["a", UNK], ["a", EOS], ["a", "a", UNK, EOS]])
def test_a_list_that_is_no_vocabulary(words):
    with pytest.raises(ValueError, match="each word once"):
        WordVocabulary(words)


def test_bytes():
    vocabulary = ByteVocabulary()
    every = bytes(range(256))
    assert len(vocabulary) == 256
    assert vocabulary.encode("aé\n") == [97, 0xC3, 0xA9, 10]
    assert vocabulary.decode([97, 0xC3, 0xA9, 10]) == "aé\n"
    assert vocabulary.decode([97, 0xC3]) == "a\ufffd"
    assert (vocabulary.line_end, vocabulary.unknown) == (10, None)
    tokens = [vocabulary.token(index) for index in every]
    assert len(set(tokens)) == 256
    assert all(token.isprintable() and not any(mark.isspace() for mark in token) for token in tokens)
    assert (tokens[97], tokens[10], tokens[32], tokens[92], tokens[255]) == ("a", "\\x0a", "\\x20", "\\x5c", "\\xff")


def test_documents():
    words = WordVocabulary(["é", UNK, EOS])
    assert vocabulary_from(words.document()).words == words.words
    assert isinstance(vocabulary_from(ByteVocabulary().document()), ByteVocabulary)


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"unit": "word"},
        {"unit": "word", "words": "ab"},
        {"unit": "word", "words": [EOS, UNK, 3]},
        {"unit": "word", "words": [EOS, "a"]},
        {"unit": "word", "words": [EOS, UNK, UNK]},
        {"unit": "sentence"},
        {"unit": ["word"]},
    ],
)
def test_a_document_that_is_none(document):
    with pytest.raises(DataError, match=r"^vocabulary: "):
        vocabulary_from(document)


def vocabularies():
    return [WordVocabulary([EOS, UNK, "a", "é", "日本"]), ByteVocabulary()]


def test_pieces():
    words, every = vocabularies()
    # a character of several bytes is complete at its last one
    assert every.pieces("aé漢\n") == ["a", "", "é", "", "", "漢", "\n"]
    # blanks between words are as one, as they are read
    assert words.pieces(" the  zebra\nran") == ["the ", "zebra ", "\n", "ran "]


def test_words_are_unseen_unless_they_are_spelled_as_the_unknown_word():
    words, every = vocabularies()
    text = "a zz <unk> yy"
    assert words.count_unseen(text, words.encode(text)) == 2
    assert every.count_unseen(text, every.encode(text)) == 0
