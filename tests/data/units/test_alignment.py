"""Each token of a line belongs to one word as it is written."""

import pytest

from refrain.data import ByteVocabulary, Preparation, WordVocabulary, vocabulary_from
from refrain.data.units.alignment import aligned, frequency, token_places

WORDS = ["<unk>", "<eos>", "do", "n't", "end", ".", "the", "İ".lower(), "é"]


def words(**preparation):
    counts = list(range(len(WORDS)))
    return WordVocabulary(WORDS, Preparation(**preparation), counts=counts)


def spelled(vocabulary, line):
    """Each written word with its tokens in print."""
    ids, found = aligned(vocabulary, line)
    assert [index for word in found for index in ids[word.start : word.stop]] == ids
    return [(word.text, [vocabulary.token(index) for index in ids[word.start : word.stop]]) for word in found]


def test_a_word_has_the_tokens_it_is_parted_into():
    plain = [("Don't", ["<unk>"]), ("end.", ["<unk>"])]
    assert spelled(words(), "Don't  end. ") == plain
    parted = [("Don't", ["do", "n't"]), ("the", ["the"]), ("end.", ["end", "."])]
    assert spelled(words(lowercase=True, tokenise=True), " Don't the end.") == parted
    # an abbreviation is parted by what follows it, which the word alone does not show
    assert spelled(words(lowercase=True, tokenise=True), "the E. end")[1] == ("E.", ["<unk>"])


def test_marks_and_letters_that_change_their_length():
    lowered = words(lowercase=True, tokenise=True, normalise="nfc")
    assert spelled(lowered, "İ <unk> the <eos>") == [
        ("İ", ["i̇"]), ("<unk>", ["<unk>"]), ("the", ["the"]), ("<eos>", ["<eos>"]),
    ]  # fmt: skip
    assert spelled(lowered, "e\u0301 end") == [("e\u0301", ["é"]), ("end", ["end"])]
    # a no-break space is a word like others, unless words are parted at white space of every kind
    assert spelled(words(), "the \u00a0 end") == [("the", ["the"]), ("\u00a0", ["<unk>"]), ("end", ["end"])]
    assert spelled(words(), "the\u00a0end") == [("the\u00a0end", ["<unk>"])]
    assert [word for word, _ in spelled(words(tokenise=True), "the \u00a0 end")] == ["the", "end"]
    assert aligned(words(), " \t ") == ([], [])


def test_bytes_belong_to_the_word_before_the_blank():
    found = aligned(ByteVocabulary(), " ab  \u00e9c")
    assert found == (list(" ab  éc".encode()), [("ab", 0, 5), ("éc", 5, 8)])


@pytest.mark.parametrize(
    ("preparation", "text", "places"),
    [
        ({}, "the\nend  the ", [0, 3, 4, 9]),
        ({}, "  the \r\n\nthe", [2, 7, 8, 9]),
        ({}, "the <eos> \u00a0 end", [0, 4, 10, 12]),
        ({}, "the <eos>\nend <eos> \r\nthe\n", [0, 4, 10, 14, 22, 25]),
        ({"lowercase": True, "tokenise": True}, " Don't the end.\nThe \u00a0 end", [1, 3, 7, 11, 14, 15, 16, 22]),
    ],
)
def test_places_of_tokens_in_the_text(preparation, text, places):
    # the carriage return of a line end is between words
    vocabulary = words(**preparation)
    assert token_places(vocabulary, text) == places and len(places) == len(vocabulary.encode(text))


def test_places_of_bytes():
    assert token_places(ByteVocabulary(), "aé b") == [0, 1, 1, 2, 3]
    assert token_places(ByteVocabulary(), "") == token_places(words(), "") == []


def test_the_frequency_is_that_of_the_rarest_token():
    assert frequency(words(), [4, 5]) == 4
    assert frequency(words(), []) is None
    assert frequency(WordVocabulary(WORDS), [4]) is None
    assert frequency(ByteVocabulary(), [4]) is None


@pytest.mark.parametrize("counts", [[1], ["1"] * len(WORDS), [-1] * len(WORDS), [True] * len(WORDS), "12", 3])
def test_damaged_counts_are_refused(counts):
    assert vocabulary_from(words().document()).counts == list(range(len(WORDS)))
    with pytest.raises(ValueError, match="count"):
        vocabulary_from({**words().document(), "counts": counts})
