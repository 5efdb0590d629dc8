"""Words that are counted and encoded piece by piece, by any number of processes, are those of the whole text."""

import random

import pytest

from refrain.data import Preparation, WordVocabulary, open_word_corpus
from refrain.data.parallel import processes
from refrain.data.text import files, pieces
from refrain.data.text.files import whole
from refrain.data.units import encoded
from refrain.data.units.word import counting, totals
from refrain.data.units.word.totals import Limits
from refrain.data.units.word.vocabulary import encoded_words, words_of
from refrain.errors import DataError

PARTS = (
    "a", "b", "The", "the", "don't", "(<unk>)", "<unk>", "<UNK>", "<un\u212a>", "<eos>", "<eos> \n", "x<eos>", "\n",
    "\n", " ", " ", " ", "\t", "\r\n", "\ufeff", "\x0b", "\x0c", "\x00", "\x1c", "\x85", "\u00a0", "\u2028", "\u3000",
    "é", "e\u0301", "😀", "\u0130", "\udc80",
)  # fmt: skip
OPTIONS = [
    {},
    {"min_count": 2, "order": "first-seen"},
    {"max_words": 5, "order": "ascending"},
    {"max_words": 3, "min_count": 2, "vocabulary_from": "all"},
    {"vocabulary_from": "all", "order": "random"},
    {"preparation": Preparation(lowercase=True), "order": "ascending", "ties": "spelling"},
    {"preparation": Preparation(lowercase=True, tokenise=True, normalise="nfc"), "min_count": 3},
    {"fixed": WordVocabulary(["b", "<unk>", "the", "a", "<eos>"])},
    {"vocabulary": WordVocabulary(["b", "<unk>", "the", "a", "<eos>"], Preparation(lowercase=True))},
]


def random_text(seed, length=400):
    """Text, some of which is no UTF-8."""
    draw = random.Random(seed)
    return "".join(draw.choices(PARTS, k=length)).encode("utf-8", "surrogateescape")


@pytest.fixture
def texts(write):
    """Files of odd texts, with one of an old Mac, one of random bytes and one that is a single line."""
    draw = random.Random(2)
    files = (
        random_text(1),
        random_text(3).replace(b"\n", b"\r"),
        bytes(draw.choices(b"ab \n\t\r\xef\xbb\xbf\xff<eos>", k=300)),
        random_text(4).replace(b"\n", b"").replace(b"\r", b""),
    )
    train = sum((whole(write(f"{number}.txt", text)) for number, text in enumerate(files)), ())
    return {"train": train, "valid": whole(write("valid.txt", random_text(5))), "test": whole(write("test", b"a \xff"))}


@pytest.fixture
def prepared(texts, tmp_path, monkeypatch):
    """Prepares the texts in a cache of its own, and returns the files of that by name."""

    def prepare(name, **options):
        monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / name))
        corpus = open_word_corpus("text", texts, errors="replace", **options)
        folder = corpus.splits["train"].tokens.path.parent
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    return prepare


@pytest.fixture
def tiny_pieces(monkeypatch):
    monkeypatch.setattr(pieces, "PIECE_BYTES", 50)
    monkeypatch.setattr(files, "BLOCK_BYTES", 37)
    monkeypatch.setattr(counting, "TABLE_WORDS", 6)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_pieces_give_the_same_corpus(prepared, tiny_pieces, options):
    wanted = prepared("whole", **options)
    assert set(wanted) == {"corpus.json", "vocabulary.json", "train.bin", "valid.bin", "test.bin"}
    assert prepared("pieces", workers=1, **options) == wanted


def test_processes_give_the_same_corpus(prepared, tiny_pieces):
    wanted = prepared("whole", min_count=2, order="first-seen")
    assert prepared("two", workers=2, min_count=2, order="first-seen") == wanted
    assert prepared("three", workers=3, min_count=2, order="first-seen") == wanted


def test_a_small_text_is_read_by_this_process_alone(prepared, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("a job was started")

    monkeypatch.setattr(encoded, "do_job", refuse)
    monkeypatch.setattr(counting, "do_job", refuse)
    assert prepared("small")
    monkeypatch.setattr(processes, "SMALL_BYTES", 100)
    with pytest.raises(AssertionError, match="a job was started"):
        prepared("large")


@pytest.mark.parametrize("seed", range(40))
def test_words_in_utf8_are_those_of_the_text(seed):
    text = random_text(seed, 60).decode("utf-8", "surrogateescape" if seed % 2 else "replace")
    assert [word.decode("utf-8", "surrogatepass") for word in encoded_words(text)] == words_of(text)
    for preparation in (Preparation(), Preparation(lowercase=True), Preparation(True, True, "nfc")):
        vocabulary = WordVocabulary(["<eos>", "a", "<unk>", "the", "b\x0bc"], preparation)
        ids, unseen = vocabulary.encoder()(text)
        assert ids.tolist() == vocabulary.encode(text)
        assert unseen == vocabulary.count_unseen(text, vocabulary.encode(text))


def test_many_distinct_words_are_counted_exactly(write, tiny_pieces, monkeypatch, tmp_path):
    """Tables hold 6 words, and 1,000 occur; the most frequent ones are found by their exact counts."""
    draw = random.Random(1)
    words = [f"w{number}" for number in range(1000) for _ in range(1 + number % 7)]
    draw.shuffle(words)
    path = write("train.txt", "".join(f"{word}\n" for word in words))
    counts, _ = counting.count_long_texts(
        {"train": whole(path)}, "strict", Preparation(), Limits(max_words=52), folder=tmp_path, workers=1
    )
    assert counts.train["<eos>"] == len(words)
    assert counts.train.total() == 2 * len(words)
    # 142 words occur seven times, of which the first by spelling are kept
    frequent = sorted(f"w{number}" for number in range(1000) if number % 7 == 6)[:50]
    assert set(counts.every) >= {"<eos>", "<unk>", *frequent}
    assert {counts.every[word] for word in frequent} == {7}
    assert len(counts.every) <= 2 * 52 + 3
    # a word is in the run of each table that it was in
    assert len(list((tmp_path / "words").glob("0-*"))) > 300


def test_a_vocabulary_that_would_be_too_large_is_refused(write, tiny_pieces, monkeypatch, tmp_path):
    monkeypatch.setattr(totals, "MOST_WORDS", 20)
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "cache"))
    spans = {"train": whole(write("train.txt", "".join(f"w{number} w{number % 9}\n" for number in range(30))))}
    with pytest.raises(DataError, match=r"train\.txt: has more than 20 distinct words .* data\.min_count=5"):
        open_word_corpus("text", spans, workers=1)
    assert list((tmp_path / "cache" / "words").iterdir()) == []
    assert len(open_word_corpus("text", spans, workers=1, min_count=2).vocabulary) == 11
