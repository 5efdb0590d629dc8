"""Subwords: pieces that are trained or come from a file, joined into the text again and aligned with its words."""

import json
import pickle

import pytest

from refrain.data import UNITS, TextOptions, text_size, vocabulary_from
from refrain.data.text import pieces as text_pieces
from refrain.data.text.files import whole
from refrain.data.units.alignment import aligned
from refrain.data.units.subword import files, tokenizers, training
from refrain.data.units.subword.files import read_tokenizer
from refrain.data.units.subword.training import train_pieces
from refrain.data.units.subword.vocabulary import EOS, SubwordVocabulary, _word_ends, subword_vocabulary_from
from refrain.errors import CheckpointError, DataError, UserError

TEXT = "the cat sat on the mat\nthe  caf\u00e9 sits\n\nmatted cats\n" * 30


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def pieces():
    return pytest.importorskip("sentencepiece")


def opened(path, vocabulary=None, **options):
    log = []
    corpus = UNITS["subword"].open("text", {"train": whole(path)}, TextOptions(**options), vocabulary, log.append)
    return corpus, log


def ids_of(corpus):
    tokens = corpus.splits["train"].tokens
    return [int(index) for index in tokens.read(0, len(tokens))]


@pytest.mark.parametrize("model", ["unigram", "bpe"])
def test_trained_pieces_spell_every_text(pieces, write, model):
    corpus, log = opened(write("text.txt", TEXT), pieces=290, piece_model=model)
    vocabulary = corpus.vocabulary
    assert len(vocabulary) <= 290 and vocabulary.unknown is None
    assert vocabulary.decode(ids_of(corpus)) == TEXT
    for text in ("unseen \u65e5\u672c \U0001f600", " a  b ", "tab\there", "\n\n", ""):
        assert vocabulary.decode(vocabulary.encode(text)) == text
        assert "".join(vocabulary.pieces(text)) == text
    assert len(ids_of(corpus)) < len(TEXT)
    assert any("training 290 pieces" in line for line in log)
    # the same text, settings and seed give the same pieces, and they travel as plain data
    again = train_pieces(whole(write("text.txt", TEXT)), "strict", count=290, model=model, seed=1)
    assert again == vocabulary.tokenizer.model
    document = json.loads(json.dumps(vocabulary.document()))
    assert vocabulary_from(document).encode(TEXT) == vocabulary.encode(TEXT) == ids_of(corpus)
    assert pickle.loads(pickle.dumps(vocabulary)).encode("the cat") == vocabulary.encode("the cat")


def test_processes_give_the_same_pieces(pieces, write, tmp_path, monkeypatch):
    path = write("text.txt", TEXT * 20)
    wanted, _ = opened(path, pieces=290)
    monkeypatch.setattr(text_pieces, "PIECE_BYTES", 5000)
    for workers in (1, 2):
        monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / f"cache-{workers}"))
        corpus, _ = opened(path, pieces=290, workers=workers)
        assert ids_of(corpus) == ids_of(wanted)
        assert corpus.splits["train"].lines == wanted.splits["train"].lines
        assert corpus.vocabulary.tokenizer.model == wanted.vocabulary.tokenizer.model


def test_words_of_pieces_are_the_words_of_the_text(pieces, write):
    path = write("text.txt", TEXT + "  a \n \nx\ty\n")
    corpus, _ = opened(path, pieces=290)
    words, word = [], b""
    for spelled, ends in corpus.spellings("train"):
        word += spelled
        if ends:
            words.append(word.decode().strip(" \t"))
            word = b""
    expected = UNITS["word"].open("text", {"train": whole(path)}, TextOptions(), None, str)
    assert [word.rpartition(" ")[2] for word in words] == [each.text.decode() for each in expected.spellings("train")]
    # the denominators do not depend on the unit
    assert text_size(corpus, "train")[1:] == text_size(expected, "train")[1:]
    assert text_size(expected, "train").words == text_size(expected, "train").tokens


@pytest.mark.parametrize(
    ("surfaces", "ends"),
    [
        (["the", " c", "at"], [True, False, True]),
        (["", "a", " ", "b"], [False, True, False, True]),
        (["a ", "b"], [True, True]),
        (["a", " ", " b"], [True, False, True]),
        ([" ", " "], [False, False]),
        (["\u65e5", "", " of the"], [False, True, True]),
        (["a\t", "b"], [True, True]),
        ([], []),
    ],
)
def test_where_words_end(surfaces, ends):
    assert list(_word_ends(surfaces)) == ends


def test_a_prompt_that_ends_inside_a_word_is_continued(pieces, write):
    vocabulary = opened(write("text.txt", TEXT), pieces=290)[0].vocabulary
    for prompt, text in (
        ("the c", "at"),
        ("the", " cat"),
        ("x\nth", "e"),
        ("", "the cat\nsat"),
        ("caf", "\u00e9\u65e5"),
    ):
        ids = vocabulary.encode(prompt + text)[len(vocabulary.encode(prompt)) :]
        if vocabulary.decode(vocabulary.encode(prompt) + ids) == prompt + text:
            assert "".join(vocabulary.continuation(prompt, ids)) == text
    # the bytes of a character are written when the last has come
    ids = vocabulary.encode("a\U0001f600\nb")
    written = list(vocabulary.continuation("", ids))
    assert "".join(written) == "a\U0001f600\nb" and "" in written


def test_a_text_that_is_too_short_or_too_long_for_its_pieces(pieces, write, monkeypatch):
    path = write("text.txt", TEXT)
    corpus, log = opened(path, pieces=8000)
    assert any(f"the text has {len(corpus.vocabulary):,} pieces instead of 8,000" in line for line in log)
    with pytest.raises(UserError, match=r"data\.pieces: SentencePiece makes no 20 pieces of this text \(.*\); choose"):
        opened(path, pieces=20)
    # a sample of a longer text, and lines in parts
    monkeypatch.setattr(training, "SAMPLE_BYTES", 500)
    monkeypatch.setattr("refrain.data.text.files.BLOCK_BYTES", 100)
    monkeypatch.setattr(training, "LINE_CHARACTERS", 10)
    lines = list(training._Lines(whole(path), "strict"))
    assert 200 < len("".join(lines)) < 600 and max(map(len, lines)) <= 10
    with pytest.raises(DataError, match="invalid UTF-8 at byte 8"):
        opened(write("bad.txt", b"a b c d \xff\n" * 40), pieces=300)


@pytest.fixture
def icefall(pieces, write, tmp_path):
    """A folder as icefall writes it: the marks are pieces of a user, and the table has the marks of a lexicon."""
    prefix = tmp_path / "trained"
    pieces.SentencePieceTrainer.train(
        input=str(write("words.txt", TEXT.upper())), model_prefix=str(prefix), vocab_size=25, model_type="unigram",
        user_defined_symbols=["<blk>", "<sos/eos>"], unk_id=2, bos_id=-1, eos_id=-1, minloglevel=2,
        hard_vocab_limit=False,
    )  # fmt: skip
    model = write("lang/bpe.model", prefix.with_suffix(".model").read_bytes())
    tokenizer = read_tokenizer(model)
    names = [tokenizer.name(index) for index in range(len(tokenizer))] + ["#0", "#1"]
    write("lang/tokens.txt", "".join(f"{name} {index}\n" for index, name in enumerate(names)))
    return model


def test_a_model_of_icefall(icefall, write):
    tokenizer = read_tokenizer(icefall.with_name("tokens.txt"))
    assert tokenizer.model == icefall.read_bytes() and tokenizer.name(tokenizer.line_end) == "<sos/eos>"
    corpus, _ = opened(write("text.txt", "THE CAT\n\u65e5\n"), tokens=str(icefall))
    assert corpus.splits["train"].unseen == 1
    assert (corpus.vocabulary.token(2), corpus.vocabulary.unknown) == ("<unk>", 2)
    assert corpus.vocabulary.decode(corpus.vocabulary.encode("THE CAT\nSAT")) == "THE CAT\nSAT"
    assert "CAT" in corpus.vocabulary and "\u65e5" not in corpus.vocabulary
    # most models drop the blank at the end of a prompt, and the next piece brings it
    ids = corpus.vocabulary.encode("CAT")
    assert "".join(corpus.vocabulary.continuation("THE ", ids)) == "CAT"


def test_a_table_of_another_model(icefall):
    table = icefall.with_name("tokens.txt")
    lines = table.read_text().splitlines(keepends=True)
    wrong = {
        "piece 4 is 'X', but": [*lines[:4], "X 4\n", *lines[5:]],
        "pieces, but": [*lines, f"Y {len(lines)}\n"],
        "line 1 is no piece with its id": ["hello\n", *lines],
    }
    for message, content in wrong.items():
        table.write_text("".join(content))
        with pytest.raises(DataError, match=message):
            read_tokenizer(icefall)
    icefall.unlink()
    with pytest.raises(DataError, match=r"lists pieces only, and bpe\.model is not beside it"):
        read_tokenizer(table)


def test_a_tokenizer_json(write):
    package = pytest.importorskip("tokenizers")
    tokenizer = package.Tokenizer(package.models.BPE())
    tokenizer.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = package.decoders.ByteLevel()
    trainer = package.trainers.BpeTrainer(
        vocab_size=280, initial_alphabet=package.pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<|endoftext|>"]
    )
    tokenizer.train_from_iterator(TEXT.split("\n"), trainer)
    path = write("tokenizer.json", tokenizer.to_str())
    corpus, _ = opened(write("text.txt", TEXT + "\u65e5 x\n"), tokens=str(path))
    vocabulary = corpus.vocabulary
    assert len(vocabulary) == 280 and vocabulary.token(vocabulary.line_end) == "<|endoftext|>"
    assert vocabulary.unknown is None and vocabulary.decode(ids_of(corpus)) == TEXT + "\u65e5 x\n"
    assert b"".join(each.text for each in corpus.spellings("train")).decode() == (TEXT + "\u65e5 x\n").replace(
        "\n", EOS
    )
    assert "".join(vocabulary.pieces("\u65e5 the cat")) == "\u65e5 the cat"
    assert "".join(vocabulary.continuation("th", vocabulary.encode("e \U0001f600"))) == "e \U0001f600"
    assert subword_vocabulary_from(vocabulary.document()).encode("the mat") == vocabulary.encode("the mat")
    for content, message in (("{", "is no JSON"), ('{"model": 3}', r"is no tokenizer\.json \(")):
        with pytest.raises(DataError, match=message):
            read_tokenizer(write("tokenizer.json", content))


class Letters:
    """A tokenizer of letters without a piece that ends a text."""

    kind, model, line_end, unknown = "sentencepiece", b"letters", None, 0
    names = "?abc "

    def __len__(self):
        return len(self.names)

    def encode(self, lines):
        return [[max(self.names.find(letter), 0) for letter in line] for line in lines]

    def divide(self, line):
        return tokenizers.Divided(self.encode([line])[0], list(range(1, len(line) + 1)))

    def decode(self, ids):
        return "".join(self.names[index] for index in ids)

    def name(self, index):
        return self.names[index]


def test_a_model_without_an_end_gets_one():
    vocabulary = SubwordVocabulary(Letters())
    assert (len(vocabulary), vocabulary.line_end) == (6, 5)
    assert vocabulary.encode("ab\nc") == [1, 2, 5, 3]
    assert list(vocabulary) == ["?", "a", "b", "c", " ", "<eos>"] and vocabulary.token(4) == "<U+0020>"
    assert vocabulary.count_unseen("axy", vocabulary.encode("axy")) == 2
    assert "".join(vocabulary.continuation("a", [2, 5, 4, 3])) == "b\n c"


def test_files_of_another_kind(pieces, write, tmp_path):
    for content in (b"", b"just text\n", b"\x00" * 100):
        with pytest.raises(DataError, match=r"is no model of SentencePiece; give a SentencePiece model or a tokenizer"):
            read_tokenizer(write("model", content))
    with pytest.raises(DataError, match="No such file"):
        read_tokenizer(tmp_path / "missing")
    with pytest.raises(DataError, match="is a folder"):
        read_tokenizer(tmp_path)


def test_a_damaged_document():
    for document, message in (
        ({"kind": "other", "model": ""}, "is of no known kind"),
        ({"kind": "sentencepiece"}, "holds no model"),
        ({"kind": "sentencepiece", "model": "%"}, ""),
    ):
        with pytest.raises(DataError, match=f"vocabulary: .*{message}"):
            vocabulary_from({"unit": "subword", **document})


def test_missing_packages(write, monkeypatch):
    for name in ("sentencepiece", "tokenizers"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    install = r"pip install 'refrain-lm\[tokenizers\]'"
    with pytest.raises(UserError, match=f"subwords need the package sentencepiece: {install}") as raised:
        opened(write("text.txt", TEXT))
    assert raised.value.exit_status == 2
    with pytest.raises(UserError, match=f"needs the package tokenizers: {install}"):
        read_tokenizer(write("tokenizer.json", "{}"))
    # a run whose package is missing is not damaged
    with pytest.raises(UserError, match=install) as raised:
        vocabulary_from({"unit": "subword", "kind": "sentencepiece", "model": "AAAA"})
    assert not isinstance(raised.value, DataError | CheckpointError)


def test_a_large_file_is_not_read(write, monkeypatch):
    monkeypatch.setattr(files, "LARGEST_MODEL", 10)
    with pytest.raises(DataError, match="is larger than 10 bytes"):
        read_tokenizer(write("model", b"0" * 11))


def byte_level():
    """A tokenizer that adds no blank at the beginning of a line."""
    package = pytest.importorskip("tokenizers")
    tokenizer = package.Tokenizer(package.models.BPE())
    tokenizer.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = package.decoders.ByteLevel()
    alphabet = package.pre_tokenizers.ByteLevel.alphabet()
    trainer = package.trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"])
    tokenizer.train_from_iterator(TEXT.split("\n"), trainer)
    return tokenizer.to_str()


@pytest.mark.parametrize("kind", ["unigram", "bpe", "byte level"])
def test_the_pieces_within_a_line(write, kind):
    """Where most tokenizers add a blank at the beginning of a line alone."""
    if kind == "byte level":
        options = {"tokens": str(write("tokenizer.json", byte_level()))}
    else:
        pytest.importorskip("sentencepiece")
        options = {"pieces": 290, "piece_model": kind}
    vocabulary = opened(write("text.txt", TEXT), **options)[0].vocabulary
    assert vocabulary.encode("the") + vocabulary.divided_within(" cat sat")[0] == vocabulary.encode("the cat sat")
    ids, pieces = vocabulary.divided_within("ting on\nthe mat")
    assert len(ids) == len(pieces) and "".join(pieces) == "ting on\nthe mat"
    assert vocabulary.decode([*vocabulary.encode("the cat sit"), *ids]) == "the cat sitting on\nthe mat"
    assert vocabulary.divided_within("") == ([], [])


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_blank_that_is_a_piece_belongs_to_the_word_after_it(pieces, write, kind):
    vocabulary = opened(write("text.txt", TEXT), pieces=290, piece_model=kind)[0].vocabulary
    line = "the zzz the cat"
    ids, words = aligned(vocabulary, line)
    tokens = [[vocabulary.token(index) for index in ids[word.start : word.stop]] for word in words]
    assert [word.text for word in words] == line.split() and words[-1].stop == len(ids)
    assert tokens[0] == tokens[2] and all(each[0].startswith("\u2581") for each in tokens)
    assert [word.text for word in aligned(vocabulary, line, within=True)[1]] == line.split()
    # those at the end belong to the last word
    ids, words = aligned(vocabulary, "the  ")
    assert words == [("the", 0, len(ids))]


def test_characters_without_a_piece_within_a_line(pieces, tmp_path):
    """They are joined with an unknown one before them, which must not be taken for a part of the line."""
    text, model = tmp_path / "text.txt", tmp_path / "model"
    text.write_text("\u043a\u043e\u0442 \u0438 \u043f\u0451\u0441\n" * 40, encoding="utf-8")
    pieces.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(model), vocab_size=18, hard_vocab_limit=False, minloglevel=2
    )
    vocabulary = opened(text, tokens=f"{model}.model")[0].vocabulary
    ids, found = vocabulary.divided_within("\u65e5\u672c")
    assert ids and "".join(found) == "\u65e5\u672c" and vocabulary.unknown in ids
