"""A model of characters goes through every command."""

import json
import math

import pytest

SETTINGS = ("data.unit=character", "training.epochs=1", "data.min_count=2")


@pytest.fixture
def run(refrain, train, write, tmp_path):
    for split, count in {"train": 60, "valid": 24, "test": 12}.items():
        folder = write(f"text/{split}.txt", "\u03b1\u03b2 a\u00e9\n" * count).parent
    write("text/train.txt", "\u03b1\u03b2 a\u00e9\n" * 60 + "z\n")
    assert refrain(*train(folder, *SETTINGS, "--quiet")).status == 0
    return tmp_path / "run"


def test_every_command(run, refrain, mistake, write, tmp_path):
    found = refrain("evaluate", run, "--json").json
    # 9 bytes, 6 characters, 2 words and a line end a line
    assert found["tokens"] == 12 * 6 - 1
    assert found["bits_per_byte"] == pytest.approx(found["bits_per_token"] * 6 / 9)
    assert found["bits_per_character"] == pytest.approx(found["bits_per_token"])
    assert found["perplexity_per_word"] == pytest.approx(math.exp(found["nats_per_token"] * 6 / 3), rel=1e-6)
    assert json.loads((run / "summary.json").read_text())["test"]["bits_per_byte"] == pytest.approx(
        found["bits_per_byte"]
    )
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    valid = [line for line in lines if line["event"] == "valid"]
    assert [line["bits_per_byte"] for line in valid] == pytest.approx(
        [line["nats_per_token"] / math.log(2) * 6 / 9 for line in valid]
    )
    assert "over characters" in (run / "README.md").read_text()
    table = tmp_path / "table.tsv"
    assert refrain("evaluate", run, "--per-token", table).status == 0
    rows = [line.split("\t") for line in table.read_text().splitlines()[1:]]
    assert [row[3] for row in rows if row[4]][:3] == ["\u03b1\u03b2", "a\u00e9", "\u03b1\u03b2"]
    assert rows[1][1] == "<U+0020>"
    text = write("lines.txt", "\u03b1z\n\u03b2\u03b2\n")
    scores = refrain("score", run, text, "--json")
    assert [json.loads(line)["unknown"] for line in scores.out.splitlines()] == [1, 0]
    assert "unknown characters, which are read as \ufffd, are 16.7% of the text" in scores.err
    drawn = refrain("generate", run, "--prompt", "\u03b1z", "--tokens", "7", "--seed", "1", "--no-unk")
    assert len(drawn.out) == 2 + 7 + 1 and "1 character of the prompt is not in the vocabulary" in drawn.err
    features = refrain("features", run, text, "--out", tmp_path / "states.npz")
    assert "note: unknown characters, which are read as \ufffd, are 25.0% of the texts" in features.err
    assert refrain("data", "check", text.parent / "text", "--unit", "character", "--min-count", "2").status == 0
    resumed = refrain("train", "--resume", "--out", run, "--json").json
    assert resumed["test"]["nats_per_token"] == pytest.approx(found["nats_per_token"])
    mistake(2, ["generate", run, "--detokenise"], "--detokenise cannot take effect with a model of characters")
    mistake(2, ["score", run, text, "--lowercase"], "--lowercase cannot take effect with a model of characters")


def test_settings(refrain, mistake, train, tiny_corpus):
    mistake(
        2, train(tiny_corpus, SETTINGS[0], "data.max_words=9"), "max_words: cannot take effect with unit 'character'"
    )
    mistake(2, train(tiny_corpus, "data.max_characters=9"), "max_characters: cannot take effect with unit 'word'")
    mistake(2, train(tiny_corpus, SETTINGS[0], "data.max_characters=1"), "data.max_characters")
    mistake(3, train(tiny_corpus / "*.csv", SETTINGS[0]), "no file matches it as a pattern; check the path")
