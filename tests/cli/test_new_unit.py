"""A unit that is registered by one line can be trained on, resumed, evaluated, scored and written by every command."""

import json
import random
from collections import Counter
from typing import Literal

import pytest

import refrain as package
from refrain.config import Data, Experiment, experiment
from refrain.data import UNITS, find_splits
from refrain.data.text.files import blocks, size_of, whole
from refrain.data.units.encoded import Encoded, open_encoded_corpus
from refrain.data.units.protocol import Spelling
from refrain.data.units.unit import not_in_a_file

UNKNOWN, LINE_END = "??", "\n\n"
PAIRS = ("data.unit=pair", "training.epochs=1")
LETTERS = "abcd "


def chunks(text):
    """A text in pairs of characters; a newline that is left alone at the end counts twice."""
    return [text[at : at + 2].ljust(2, "\n") for at in range(0, len(text), 2)]


class PairVocabulary:
    """Pairs of characters by id."""

    unit = "pair"
    piece = "pair"
    bytes_per_token = 2
    unknown_count = None

    def __init__(self, pairs):
        self.pairs = pairs
        self.index = {pair: index for index, pair in enumerate(pairs)}
        self.unknown = self.index[UNKNOWN]
        self.line_end = self.index[LINE_END]

    def __len__(self):
        return len(self.pairs)

    def encode(self, text):
        return [self.index.get(pair, self.unknown) for pair in chunks(text)]

    def decode(self, ids):
        return "".join(self.pairs[index] for index in ids)

    def token(self, index):
        return self.pairs[index].replace(" ", "_").replace("\n", "$")

    def continuation(self, prompt, ids):
        return (self.pairs[index] for index in ids)

    def pieces(self, text):
        return chunks(text)

    def count_unseen(self, text, ids):
        return ids.count(self.unknown) - chunks(text).count(UNKNOWN)

    def spellings(self, source, tokens, errors):
        for pair in chunks("".join(blocks(source, errors))):
            yield Spelling(pair.encode(), pair[1].isspace())

    def document(self):
        return {"unit": self.unit, "pairs": self.pairs}


class PairUnit:
    """Pairs of characters: rarer pairs than `min_count` are unknown."""

    exchangeable = True
    in_bytes = True
    read_vocabulary = staticmethod(not_in_a_file)

    def vocabulary_from(self, document):
        return PairVocabulary(document["pairs"])

    def names_splits(self, path):
        return path.is_dir()

    def find_splits(self, path, options, requested, log):
        return find_splits(path, shares=options.split, requested=requested)

    def find_all(self, path, log):
        return whole(path)

    def open(self, name, texts, options, vocabulary, log):
        def build():
            counts = Counter(chunks("".join(blocks(texts["train"], options.errors))))
            return PairVocabulary(
                sorted({UNKNOWN, LINE_END, *(p for p, n in counts.items() if n >= options.min_count)})
            )

        return open_encoded_corpus(
            name,
            texts,
            subfolder="pairs",
            settings={"min_count": options.min_count, "pairs": vocabulary and vocabulary.pairs},
            build=lambda scratch: Encoded(vocabulary or build()),
            read=self.vocabulary_from,
            errors=options.errors,
            log=log,
        )

    def survey(self, corpus):
        return {name: {"longest_line": size_of(split.source)} for name, split in corpus.splits.items()}


def rebuild():
    for settings in (Data, Experiment):
        settings.model_rebuild(force=True)


@pytest.fixture
def pair(monkeypatch):
    """What a new unit changes outside its folder: the line in the table, and its settings."""
    with monkeypatch.context() as patch:
        patch.setitem(UNITS, "pair", PairUnit())
        patch.setitem(experiment.UNIT_SETTINGS, "pair", ("min_count", "errors"))
        patch.setattr(Data.model_fields["unit"], "annotation", Literal["word", "byte", "pair"])
        rebuild()
        yield
    rebuild()


@pytest.fixture
def corpus(write):
    draw = random.Random(4)
    for split, count in {"train": 200, "valid": 60, "test": 60}.items():
        lines = ["".join(draw.choices(LETTERS, k=2 * draw.randint(5, 9))) for _ in range(count)]
        folder = write(f"pairs/{split}.txt", "".join(line + LINE_END for line in lines)).parent
    return folder


def tokens_of(corpus, split):
    return len((corpus / f"{split}.txt").read_text()) // 2


def test_training_evaluating_and_resuming(pair, refrain, train, corpus, tmp_path):
    found = refrain(*train(corpus, *PAIRS, "--json")).json
    test = found["test"]
    assert test["tokens"] == tokens_of(corpus, "test") - 1
    assert test["bits_per_byte"] == pytest.approx(test["bits_per_token"] / 2)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())["data"]
    # every pair of five letters, the line end and the unknown pair
    assert (manifest["unit"], manifest["vocabulary"]) == ("pair", len(LETTERS) ** 2 + 2)
    assert f"over {manifest['unit']}s" in (tmp_path / "run" / "README.md").read_text()
    metrics = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(line["bits_per_byte"] > 0 for line in metrics if "nats_per_token" in line)
    again = refrain("evaluate", tmp_path / "run", "--json").json
    assert again["nats_per_token"] == pytest.approx(test["nats_per_token"])
    # other text, in the ids of the model
    other = refrain("evaluate", tmp_path / "run", "--data", corpus / "valid.txt", "--errors", "replace", "--json").json
    assert (other["split"], other["tokens"]) == ("all", tokens_of(corpus, "valid") - 1)
    resumed = refrain("train", "--resume", "--out", tmp_path / "run", "--json").json
    assert resumed["test"] == test


def test_reading_and_writing(pair, refrain, train, corpus, write, tmp_path):
    run = tmp_path / "run"
    assert refrain(*train(corpus, *PAIRS, "--quiet")).status == 0
    table = tmp_path / "table.tsv"
    figure = refrain("evaluate", run, "--per-token", table, "--json").json
    rows = [line.split("\t") for line in table.read_text().splitlines()[1:]]
    assert len(rows) == figure["tokens"]
    # a word ends with a pair that ends with a blank; all words together spell the text
    words = [row[3] for row in rows if row[4]]
    assert "".join(words).replace(" ", "") == "".join((corpus / "test.txt").read_text().split())
    assert sum(float(row[4]) for row in rows if row[4]) == pytest.approx(figure["bits_per_token"] * len(rows), rel=1e-4)
    lines = write("lines.txt", "abcd\nxyab\n")
    scores = [json.loads(line) for line in refrain("score", run, lines, "--json").out.splitlines()]
    assert [(score["tokens"], score["unknown"]) for score in scores] == [(3, 0), (3, 1)]
    lm = package.load(run)
    assert lm.score("abcd\nxyab\n").nats == pytest.approx(sum(score["nats"] for score in scores), rel=1e-4)
    streamed = refrain("generate", run, "--prompt", "abxy", "--tokens", "9", "--seed", "3")
    assert "1 pair of the prompt is not in the vocabulary and read as ??" in streamed.err
    assert len(streamed.out) == len("abxy") + 2 * 9 + 1
    (text,) = refrain("generate", run, "--prompt", "abcd", "--tokens", "9", "--seed", "3", "--json").json["samples"]
    assert text == lm.generate("abcd", tokens=9, seed=3)[0]
    assert refrain("generate", run, "--no-unk", "--tokens", "9").status == 0
    states = refrain("features", run, lines, "--out", tmp_path / "states.npz", "--json")
    assert states.status == 0, states.err


def test_looking_a_corpus_over(pair, refrain, corpus):
    found = refrain("data", "check", corpus, "--unit", "pair", "--min-count", "2", "--json").json
    assert found["splits"]["test"]["tokens"] == tokens_of(corpus, "test")
    assert found["splits"]["test"]["longest_line"] == (corpus / "test.txt").stat().st_size


def test_settings_of_other_units_cannot_take_effect(pair, mistake, train, corpus):
    mistake(2, train(corpus, *PAIRS, "data.order=ascending"), "data.order: cannot take effect with unit 'pair'")
    mistake(2, train(corpus, *PAIRS, "data.cleaning=reviews"), "data.cleaning: cannot take effect with unit 'pair'")
    mistake(2, train(corpus, *PAIRS, "model.head=adaptive", "model.head.cutoffs=[9]"), "needs words in the order")
    mistake(2, ["data", "check", corpus, "--unit", "pair", "--cleaning", "reviews"], "--cleaning cannot take effect")


def test_a_unit_that_is_not_registered(mistake, train, corpus):
    mistake(2, train(corpus, *PAIRS), "data.unit: must be 'word', 'byte', 'character' or 'subword' (got 'pair')")
    mistake(
        2,
        ["data", "check", corpus, "--unit", "pair"],
        "--unit must be one of word, byte, character, subword, tag, auto (got 'pair')",
    )
