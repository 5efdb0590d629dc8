"""A model of subwords goes through every command."""

import json
import math

import pytest

from refrain.data import SubwordVocabulary, vocabulary_from
from refrain.data.text.files import whole
from refrain.data.units.subword.files import read_tokenizer
from refrain.data.units.subword.training import train_pieces
from refrain.storage.checkpoint import Checkpoint, save

SETTINGS = ("data.unit=subword", "data.pieces=300", "training.epochs=1")
LINE = "the cat sat on the mat\n"


@pytest.fixture
def corpus(write):
    pytest.importorskip("sentencepiece")
    for split, count in {"train": 60, "valid": 12, "test": 12}.items():
        folder = write(f"text/{split}.txt", LINE * count + "caf\u00e9s\n").parent
    return folder


def test_every_command(refrain, train, mistake, write, corpus, tmp_path):
    run = tmp_path / "run"
    assert refrain(*train(corpus, *SETTINGS, "--quiet")).status == 0
    found = refrain("evaluate", run, "--json").json
    bits = found["bits_per_token"] * (found["tokens"] + 1)
    assert found["bits_per_byte"] == pytest.approx(bits / (12 * len(LINE) + 7))
    assert found["bits_per_character"] == pytest.approx(bits / (12 * len(LINE) + 6))
    # six words and the end of a line
    assert found["perplexity_per_word"] == pytest.approx(math.exp(bits * math.log(2) / (12 * 7 + 2)), rel=1e-6)
    table = tmp_path / "table.tsv"
    assert refrain("evaluate", run, "--per-token", table).status == 0
    rows = [line.split("\t") for line in table.read_text().splitlines()[1:]]
    words = [row for row in rows if row[4]]
    assert [row[3] for row in words] == [*[*LINE.split(), "<eos>"] * 12, "caf\u00e9s", "<eos>"]
    # the pieces of a word add up to its surprisal
    second = next(number for number, row in enumerate(rows) if row[4]) + 1
    last = next(number for number, row in enumerate(rows) if row[4] and number >= second)
    assert float(rows[last][4]) == pytest.approx(
        sum(float(row[2]) for row in rows[second : last + 1]) / math.log(2), 1e-4
    )
    text = write("lines.txt", "the cat\n\u65e5\u672c\n")
    scores = [json.loads(line) for line in refrain("score", run, text, "--json").out.splitlines()]
    assert [score["unknown"] for score in scores] == [0, 0]
    assert refrain("generate", run, "--prompt", "the c", "--tokens", "9", "--seed", "1").out.startswith("the c")
    assert len(refrain("generate", run, "--tokens", "5", "--samples", "2", "--json").json["samples"]) == 2
    assert refrain("features", run, text, "--out", tmp_path / "states.npz").status == 0
    assert refrain("train", "--resume", "--out", run, "--json").json["test"]["nats_per_token"] == pytest.approx(
        found["nats_per_token"]
    )
    mistake(2, ["generate", run, "--no-unk"], "--no-unk cannot take effect with a model of subwords")
    mistake(2, ["score", run, text, "--lowercase"], "--lowercase cannot take effect with a model of subwords")
    assert refrain("data", "check", corpus, "--unit", "subword").status == 0


def test_a_file_that_has_changed(refrain, train, mistake, write, corpus, tmp_path):
    text = whole(corpus / "train.txt")
    path = write("pieces.model", train_pieces(text, "strict", count=280, model="unigram", seed=1))
    assert refrain(*train(corpus, "training.epochs=1", "--tokens", path, "--quiet")).status == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())["experiment"]["data"]
    assert (config["unit"], config["tokens"]) == ("subword", str(path))
    path.write_bytes(train_pieces(text, "strict", count=275, model="bpe", seed=1))
    # the model is a part of the run
    assert refrain("evaluate", tmp_path / "run").status == 0
    # the weights of one model with the pieces of another
    checkpoint = Checkpoint((tmp_path / "run" / "best").resolve())
    documents = {name: checkpoint.document(name) for name in ("config", "vocabulary", "training")}
    documents["vocabulary"] = SubwordVocabulary(read_tokenizer(path)).document()
    assert len(vocabulary_from(documents["vocabulary"])) != checkpoint.shapes("model")["embedding.weight"][0]
    save(tmp_path / "mixed", {"model": checkpoint.tensors("model")}, documents)
    mistake(4, ["evaluate", tmp_path / "mixed"], "mixed: its vocabulary has", "tokens, but the weights are for")
    resume = ["train", "--resume", "--out", tmp_path / "run", "training.epochs=2"]
    mistake(4, resume, "the run was started with another", "pieces.model; put the file back as it was")


def test_settings(mistake, train, tiny_corpus, tmp_path):
    options = train(tiny_corpus, "--tokens", tmp_path / "no.model")
    mistake(3, options, "no.model: No such file or directory; give a SentencePiece model or a tokenizer.json")
    mistake(2, [*options, "data.pieces=90"], "pieces: cannot take effect with the pieces of a file")
    mistake(2, train(tiny_corpus, "data.pieces=90"), "pieces: cannot take effect with unit 'word'")
    mistake(2, train(tiny_corpus, SETTINGS[0], "data.min_count=2"), "min_count: cannot take effect with unit 'subword'")
