"""What a program prints for a token."""

import io
import json

import pytest

from refrain.data import ByteVocabulary, SubwordVocabulary
from refrain.data.text.files import whole
from refrain.data.units.subword.tokenizers import HuggingFaceTokenizer, SentencePieceTokenizer
from refrain.data.units.subword.training import train_pieces
from refrain.data.units.word.vocabulary import WordVocabulary
from refrain.export.printed_tokens import printed_tokens

TEXT = "the caf\u00e9 \u65e5\u672c"


def test_words_and_bytes():
    assert printed_tokens(WordVocabulary(["<unk>", "<eos>", "cat"])) == (b"<unk> ", b"\n", b"cat ")
    assert printed_tokens(ByteVocabulary()) == tuple(bytes([byte]) for byte in range(256))


def printed(vocabulary, text):
    tokens = printed_tokens(vocabulary)
    return b"".join(tokens[index] for index in vocabulary.encode(text)).decode()


def test_pieces_that_end_inside_a_character(tmp_path):
    pytest.importorskip("sentencepiece")
    path = tmp_path / "text.txt"
    path.write_text("the cat sat on the mat\n" * 50)
    model = train_pieces(whole(path), "strict", count=280, model="unigram", seed=1)
    vocabulary = SubwordVocabulary(SentencePieceTokenizer(model))
    assert printed(vocabulary, f"{TEXT}\nthe cat") == f" {TEXT}\n the cat"
    assert printed_tokens(vocabulary)[list(vocabulary).index("<0xE6>")] == b"\xe6"


def test_a_mark_is_not_printed():
    package = pytest.importorskip("sentencepiece")
    model = io.BytesIO()
    options = {"vocab_size": 20, "control_symbols": ["<mark>"], "hard_vocab_limit": False, "minloglevel": 2}
    package.SentencePieceTrainer.train(sentence_iterator=iter(["the cat sat"] * 9), model_writer=model, **options)
    vocabulary = SubwordVocabulary(SentencePieceTokenizer(model.getvalue()))
    assert printed_tokens(vocabulary)[list(vocabulary).index("<mark>")] == b""


def test_pieces_of_bytes_in_a_tokenizer_json():
    package = pytest.importorskip("tokenizers")
    made = package.Tokenizer(package.models.BPE(vocab={}, merges=[]))
    made.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = package.decoders.ByteLevel()
    alphabet = package.pre_tokenizers.ByteLevel.alphabet()
    document = json.loads(made.to_str())
    document["model"]["vocab"] = {sign: index for index, sign in enumerate(sorted(alphabet))}
    vocabulary = SubwordVocabulary(HuggingFaceTokenizer(json.dumps(document).encode()))
    assert printed(vocabulary, TEXT) == TEXT
