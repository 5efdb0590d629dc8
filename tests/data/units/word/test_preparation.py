"""A text is prepared in the same way whenever a vocabulary reads it."""

import pytest

from refrain.data import WordVocabulary, find_splits, open_word_corpus, vocabulary_from
from refrain.data.text import files, pieces
from refrain.data.units.table import same_tokens
from refrain.data.units.word.preparation import PLAIN, Preparation, preparation_from
from refrain.data.unknown import unknown_concerns

WORDS = ["<eos>", "<unk>", "the", "dog", "barks", ".", "caf\u00e9"]


def test_what_is_done_to_a_text():
    text = "The dog barks.\n<unk> Cafe\u0301, <eos>\n"
    assert PLAIN(text) == text
    assert Preparation(lowercase=True)(text) == "the dog barks.\n<unk> cafe\u0301, <eos>\n"
    assert Preparation(normalise="nfc")(text) == "The dog barks.\n<unk> Caf\u00e9, <eos>\n"
    prepared = Preparation(lowercase=True, tokenise=True, normalise="nfc")(text)
    assert prepared == "the dog barks .\n<unk> caf\u00e9 , <eos>\n"


def test_a_vocabulary_applies_its_own():
    vocabulary = WordVocabulary(WORDS, Preparation(lowercase=True, tokenise=True, normalise="nfc"), unknown_count=3)
    assert vocabulary.encode("The DOG barks.\n") == [2, 3, 4, 5, 0]
    assert vocabulary.encode("Cafe\u0301 <eos>\n") == [6, 0]
    assert vocabulary.pieces("The dog.\n") == ["the ", "dog ", ". ", "\n"]
    assert vocabulary.count_unseen("A Zebra <UNK>", vocabulary.encode("A Zebra <UNK>")) == 2
    again = vocabulary_from(vocabulary.document())
    assert again.document() == vocabulary.document() and again.preparation == vocabulary.preparation
    assert vocabulary.prepared(PLAIN).encode("The dog") == [1, 3]


def test_a_plain_vocabulary_is_stored_as_ever():
    assert WordVocabulary(WORDS).document() == {"unit": "word", "words": WORDS}
    assert vocabulary_from({"unit": "word", "words": WORDS}).unknown_count is None


@pytest.mark.parametrize("changed", [{"lowercase": 1}, {"normalise": "nfd"}, {"unknown_count": "3"}])
def test_a_damaged_document(changed):
    with pytest.raises(ValueError, match="vocabulary: "):
        vocabulary_from({"unit": "word", "words": WORDS, **changed})
    if "unknown_count" not in changed:
        with pytest.raises(ValueError, match=r"true or false|none"):
            preparation_from(changed)


def test_the_count_of_unknown_words_is_no_difference_of_tokens():
    old, new = WordVocabulary(WORDS), WordVocabulary(WORDS, unknown_count=4)
    assert same_tokens(old.document(), new.document())
    assert not same_tokens(old.document(), WordVocabulary(WORDS, Preparation(lowercase=True)).document())
    assert not same_tokens(old.document(), WordVocabulary(WORDS[::-1]).document())


def test_a_prepared_corpus_is_another_in_the_cache(write):
    write("corpus/train.txt", "The cat. the Cat!\n" * 9)
    folder = write("corpus/valid.txt", "THE CAT\n").parent
    plain = open_word_corpus("mine", find_splits(folder))
    small = open_word_corpus("mine", find_splits(folder), preparation=Preparation(lowercase=True, tokenise=True))
    assert plain.splits["valid"].unseen == 2 and small.splits["valid"].unseen == 0
    assert set(small.vocabulary.words) == {"the", "cat", ".", "!", "<eos>", "<unk>"}
    assert [spelling.text for spelling in small.spellings("valid")] == [b"the", b"cat", b"<eos>"]
    # read by the vocabulary of the model, as for evaluation
    read = open_word_corpus("mine", find_splits(folder), vocabulary=small.vocabulary)
    assert read.splits["valid"].unseen == 0
    assert open_word_corpus("mine", find_splits(folder), vocabulary=plain.vocabulary).splits["valid"].unseen == 2


@pytest.mark.parametrize(("text", "min_count", "count"), [("a b\n", 1, 0), ("a b\n", 9, 2 * 3), ("a <unk>\n", 1, 3)])
def test_how_often_training_has_unknown_words(write, text, min_count, count):
    write("corpus/train.txt", text * 3)
    folder = write("corpus/valid.txt", "x y <unk>\n").parent
    for source in ("train", "all"):
        corpus = open_word_corpus("mine", find_splits(folder), min_count=min_count, vocabulary_from=source)
        assert corpus.vocabulary.unknown_count == count


def test_concerns():
    never, unsure = WordVocabulary(WORDS, unknown_count=0), WordVocabulary(WORDS)
    assert unknown_concerns(never, {"valid": (0, 100)}) == []
    (line,) = unknown_concerns(never, {"valid": (3, 100), "test": (0, 100)})
    assert line.startswith("<unk> does not occur in the training text, so that what unknown words cost (valid 3) is")
    assert "data.min_count=2" in line
    (line,) = unknown_concerns(unsure, {"the text": (36, 100)})
    assert line.startswith("unknown words, which are read as <unk>, are 36.0% of the text, so that figures with them")
    assert "--lowercase" in line
    assert unknown_concerns(unsure, {"the text": (5, 100)}) == []
    assert len(unknown_concerns(never, {"the text": (36, 100)})) == 2


@pytest.mark.parametrize(
    ("words", "done", "in_training", "remedy"),
    [
        (["a"], Preparation(), False, "make the text fit the model with --lowercase or --tokenise"),
        (["A", "B"], Preparation(), False, "make the text fit the model with --tokenise"),
        (["a"], Preparation(lowercase=True), False, "make the text fit the model with --tokenise"),
        (["a"], Preparation(lowercase=True, tokenise=True), False, "use a model that was trained on such a text"),
        # the words of a text that was not tokenised end in its punctuation
        (["a", "b,"], Preparation(lowercase=True), False, "use a model that was trained on such a text"),
        (["mr.", ","], Preparation(lowercase=True), False, "make the text fit the model with --tokenise"),
        (["A"], Preparation(), True, "train with data.lowercase=true, data.tokenise=true, data.unit=subword (or"),
        (["a"], Preparation(), True, "train with data.tokenise=true, data.unit=subword (or character, or byte), or on"),
        (["a"], Preparation(tokenise=True), True, "train with data.unit=subword (or character, or byte), or on a"),
    ],
)
def test_only_what_would_change_something_is_advised(words, done, in_training, remedy):
    vocabulary = WordVocabulary(["<eos>", "<unk>", *words]).prepared(done)
    (line,) = unknown_concerns(vocabulary, {"the text": (36, 100)}, in_training=in_training)
    assert f", or {remedy}" in line


@pytest.mark.parametrize(("min_count", "advised"), [(5, "train with data.min_count=2 (it is 5), "), (2, ""), (1, "")])
def test_a_smaller_min_count_is_advised_where_there_is_one(min_count, advised):
    vocabulary = WordVocabulary(["<eos>", "<unk>", "a"])
    (line,) = unknown_concerns(vocabulary, {"valid": (36, 100)}, in_training=True, min_count=min_count)
    assert advised in line and ("min_count" in line) == bool(advised)


@pytest.mark.parametrize("rest", ["no .", "<unk> .", "no <unk> </s> ."])
def test_the_tokens_of_words_do_not_depend_on_marks_elsewhere_in_the_line(rest):
    assert Preparation(tokenise=True)(f"J. Smith\tsaid {rest}").split() == ["J.", "Smith", "said", *rest.split()]


def test_what_is_no_mark_by_itself_is_divided():
    assert Preparation(tokenise=True)("<unk>, a<unk> <a b>").split() == [
        "<", "unk", ">", ",", "a", "<", "unk", ">", "<", "a", "b", ">"
    ]  # fmt: skip


@pytest.mark.parametrize("workers", [None, 1])
def test_tokens_do_not_depend_on_where_a_long_line_is_cut(write, monkeypatch, workers):
    """Blocks and pieces could end after each `J.`, with one pass over the text and with pieces of it."""
    monkeypatch.setattr(files, "BLOCK_BYTES", 32)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 32)
    spans = {"train": files.whole(write(f"{workers}.txt", "J. Smith said " * 50))}
    corpus = open_word_corpus("long", spans, preparation=Preparation(tokenise=True), workers=workers)
    assert corpus.vocabulary.words == ["J.", "Smith", "said", "<eos>", "<unk>"]
    assert len(corpus.splits["train"].tokens) == 3 * 50 + 1
    assert [each.text for each in corpus.spellings("train")] == [b"J.", b"Smith", b"said"] * 50 + [b"<eos>"]
    read = open_word_corpus("read", {"all": spans["train"]}, vocabulary=corpus.vocabulary, workers=workers)
    assert read.splits["all"].unseen == 0
