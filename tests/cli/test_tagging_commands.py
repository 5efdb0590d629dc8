"""Taggers on the command line: train, evaluate, tag, and mistakes in one line each."""

import io
import json
import sys

import pytest
from tagged import write_tsv

from refrain.cli.app import main

TINY = (
    "model.embedding_size=8", "model.hidden_sizes=[8]", "training.epochs=3", "training.batch_size=8",
    "training.learning_rate=0.02", "training.stop_window=none",
)  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_tsv(tmp_path_factory.mktemp("tagged") / "toy")


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    place = tmp_path_factory.mktemp("runs") / "tagger"
    words = ["train", "pos-default", *TINY, "--data", corpus, "--out", place, "--quiet"]
    assert main([str(word) for word in words]) == 0
    return place


@pytest.fixture
def standard_input(monkeypatch):
    def give(text):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    return give


def rows(text):
    return [line.split("\t") for line in text.splitlines() if line and line[0] != "#"]


def test_train_says_what_comes_next(refrain, corpus, tmp_path):
    outcome = refrain("train", "pos-default", *TINY, "--data", corpus, "--out", tmp_path / "run")
    assert outcome.status == 0
    assert "accuracy" in outcome.out and "refrain tag" in outcome.out
    assert "60  valid 20  test 20 sentences, 4 tags" in outcome.err
    assert "nats/word  accuracy" in outcome.err


def test_a_toml_file_that_extends_a_tagger_and_the_one_a_run_keeps(refrain, corpus, write, tmp_path):
    path = write(
        "mine.toml",
        f'extends = "pos-default"\nname = "mine"\n[data]\ncorpus = "{corpus}"\n'
        '[training]\nepochs = 1\nstop_window = "none"\n',
    )
    summary = refrain("train", path, "model.embedding_size=8", "--out", tmp_path / "run", "--quiet", "--json").json
    assert summary["recipe"] == "mine" and summary["epochs"] == 1 and summary["task"] == "tagger"
    kept = tmp_path / "run" / "recipe.toml"
    assert kept.read_text().startswith('extends = "pos-default"')
    again = refrain("train", kept, "--out", tmp_path / "again", "--quiet", "--json").json
    assert again["test"] == summary["test"]


def test_check_and_recipes(refrain, corpus):
    found = refrain("check", "pos-dense", "--data", corpus, "--json").json
    assert found["ok"] and found["widths"]["tags"] == 4
    assert refrain("recipes", "pos-default", "--json").json["task"] == "tagger"
    assert "pos-sparse-descending" in refrain("recipes").out


def test_evaluate(refrain, run, corpus, tmp_path):
    found = refrain("evaluate", run, "--json").json
    assert found["split"] == "test" and found["accuracy"] > 0.9
    assert found["interval"][0] < found["accuracy"] <= found["interval"][1]
    assert found["seen"]["words"] + found["unseen"]["words"] == found["tokens"]
    assert set(found["per_tag"]) == {"D", "N", "V", "P"} and len(found["confusion"]) == 4
    summary = json.loads((run / "summary.json").read_text())
    assert found["accuracy"] == summary["test"]["accuracy"]
    assert refrain("evaluate", run, "--split", "valid", "--json").json["accuracy"] == summary["valid"]["accuracy"]
    whole = refrain("evaluate", run, "--data", corpus / "toy.dev.tsv", "--json").json
    assert whole["split"] == "all" and whole["tokens"] == summary["valid"]["tokens"]
    picture = tmp_path / "confusion.png"
    outcome = refrain("evaluate", run, "--confusion", picture)
    text = outcome.out
    assert outcome.err.endswith(f"wrote {picture}\n")
    assert "words seen in training" in text and "precision" in text
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_tag_tokenised_text(refrain, run, write):
    outcome = refrain("tag", run, write("a.txt", "the dogs running .\n\n a  cats\n"), "--tokenised")
    assert outcome.status == 0
    assert outcome.out.splitlines()[:3] == [
        "# sent_id = 1",
        "# text = the dogs running .",
        "1\tthe\t_\t_\tD\t_\t_\t_\t_\t_",
    ]
    found = rows(outcome.out)
    assert [row[4] for row in found][:4] == ["D", "N", "V", "P"] and len(found) == 6
    assert all(len(row) == 10 for row in found) and outcome.out.endswith("\n\n")


def test_what_was_tagged_can_be_measured(refrain, run, write):
    """Tags that are not the universal ones are written to XPOS, where they are found again."""
    tagged = refrain("tag", run, write("a.txt", "the dogs running .\n"), "--tokenised").out
    found = refrain("evaluate", run, "--data", write("own.conllu", tagged), "--json").json
    assert (found["tokens"], found["accuracy"]) == (4, 1.0)


def test_tag_as_json(refrain, run, write):
    found = refrain("tag", run, write("a.txt", "the dogs .\n"), "--tokenised", "--json").json
    assert found == {"words": ["the", "dogs", "."], "tags": ["D", "N", "P"]}


def test_tag_plain_text_from_standard_input(refrain, run, standard_input):
    standard_input("The dogs running. A cats!\n")
    outcome = refrain("tag", run, "--column", "upos")
    assert [row[1] for row in rows(outcome.out)] == ["The", "dogs", "running", ".", "A", "cats", "!"]
    assert [row[9] for row in rows(outcome.out)] == ["_", "_", "SpaceAfter=No", "_", "_", "SpaceAfter=No", "_"]
    assert "# text = A cats!" in outcome.out and all(row[3] != "_" for row in rows(outcome.out))


def test_tag_conllu_keeps_all_but_the_tags(refrain, run, write, tmp_path):
    empty = "\t_" * 8 + "\n"
    text = f"# a = b\n1-2\tcan't{empty}1\tthe\tTHE\tX\tY\tA=b\t0\troot\t_\tC=d\n2\tdogs{empty}\n"
    out = tmp_path / "out.conllu"
    outcome = refrain("tag", run, write("a.conllu", text), "--out", out)
    assert outcome.status == 0 and outcome.err.endswith(f"wrote {out}\n")
    wanted = text.replace("X\tY", "X\tD").replace("2\tdogs\t_\t_\t_", "2\tdogs\t_\t_\tN")
    assert out.read_text() == wanted
    assert not list(tmp_path.glob(".tmp-*"))
    # what was written is what evaluate reads
    assert refrain("evaluate", run, "--data", out, "--json").status == 3


def test_bad_conllu_to_tag(mistake, refrain, run, write):
    good, bad = "1\tthe" + "\t_" * 8 + "\n", "1\tthe\n"
    path = write("a.conllu", f"{good}\n{bad}\n{good}")
    outcome = refrain("tag", run, path)
    assert outcome.status == 3 and f"{path}:3: expected 10 columns" in outcome.complaints[0]
    outcome = refrain("tag", run, path, "--skip-bad")
    assert outcome.status == 0 and len(rows(outcome.out)) == 2
    assert f"left out: {path}:3" in outcome.err and "left out 1 bad sentence\n" in outcome.err


def test_sentences_before_a_bad_one_are_answered(refrain, run, write):
    good = "1\tthe" + "\t_" * 8 + "\n"
    path = write("a.conllu", f"{good}\n{good}\n1\tthe\n")
    outcome = refrain("tag", run, path)
    assert outcome.status == 3 and f"{path}:5" in outcome.err
    assert len(rows(outcome.out)) == 2


def test_many_sentences_have_the_tags_that_they_have_alone(refrain, run, write, standard_input):
    text = "".join(f"the {noun} eating .\n" for noun in ["dogs", "cats", "owls", "cows", "hens"] * 27)
    together = refrain("tag", run, write("many.txt", text), "--tokenised").out
    standard_input(text)
    assert refrain("tag", run, "--tokenised").out == together
    assert len(rows(together)) == 135 * 4


def test_int8_weights_of_a_tagger(refrain, run, write):
    whole, rounded = (refrain("evaluate", run, "--weights", weights, "--json").json for weights in ("float32", "int8"))
    assert rounded["nats_per_token"] != whole["nats_per_token"]
    assert rounded["nats_per_token"] == pytest.approx(whole["nats_per_token"], rel=0.02)
    path = write("a.txt", "the dogs eating .\n")
    assert refrain("tag", run, path, "--weights", "int8").out == refrain("tag", run, path).out


def test_plain_text_is_named(mistake, write, tmp_path):
    lines = (f"INFO {'started ' * (number % 5)}job {number}\n" for number in range(60))
    words = ["train", "pos-default", *TINY, "--data", write("app.log", "".join(lines)), "--out", tmp_path / "run"]
    mistake(3, words, "app.log:2: ", "the file looks like plain text, and a tagger needs sentences whose words have")


def test_bad_corpora(mistake, refrain, corpus, write, tmp_path):
    own = write_tsv(tmp_path / "own")
    words = ["train", "pos-default", *TINY, "--data", own, "--out", tmp_path / "run", "--quiet"]
    text = (own / "toy.dev.tsv").read_text()
    (own / "toy.dev.tsv").write_text(text + "a\tD\textra\n\n")
    mistake(3, words, "toy.dev.tsv", "3 columns, where the first line of the file has 2", "--skip-bad")
    assert not (tmp_path / "run").exists()
    # what the command has is named
    check = ["check", "pos-default", *TINY, "--data", own]
    mistake(3, check, "correct the file, or leave such sentences out with data.skip_bad=true")
    assert refrain(*check, "data.skip_bad=true", "--json").json["ok"]
    outcome = refrain(*words, "--skip-bad", "--json")
    assert outcome.json["skipped"] == {"train": 0, "valid": 1, "test": 0}
    assert "left out 1 bad sentence:" in refrain("evaluate", tmp_path / "run", "--split", "valid").err
    mistake(3, [*words[:-5], "--data", tmp_path / "none", "--out", tmp_path / "b"], "no such file or folder")


def test_commands_refuse_the_other_kind_of_run(mistake, run, tiny_run, write, tmp_path):
    text = write("a.txt", "the dogs\n")
    for words in (
        ["generate", run],
        ["score", run, text],
        ["features", run, text, "--out", tmp_path / "a.npz"],
        ["sparsity", run],
    ):
        mistake(4, words, "is the run of a tagger", "refrain tag")
    mistake(2, ["compress", run, "--out", tmp_path / "small"], "of a tagger, the weights can be stored in int8 only")
    words = ["--weights", "int8", "--to", "bytes=50%"]
    mistake(2, ["compress", run, "--out", tmp_path / "small", *words], "--to: cannot take effect with a tagger")
    mistake(4, ["tag", tiny_run, text], "is the run of a language model", "refrain train pos-default")
    mistake(2, ["evaluate", run, "--protocol", "awd"], "--protocol: cannot take effect with a tagger")
    mistake(2, ["evaluate", run, "--per-token", tmp_path / "x"], "--per-token: cannot take effect with a tagger")
    mistake(2, ["evaluate", tiny_run, "--confusion", tmp_path / "x.png"], "--confusion: cannot take effect")
    mistake(2, ["tag", run, text, "--plain", "--tokenised"], "exclude each other")
    mistake(2, ["tag", run, text, "--plain", "--skip-bad"], "--skip-bad cannot take effect with --plain or --tokenised")
    mistake(2, ["tag", run, text, "--json", "--column", "xpos"], "--column cannot take effect with --json")
    mistake(2, ["tag", run, text, "--out", text], "is also read, so it is never replaced")
    mistake(2, ["bench", "train", "--recipe", "pos-default"], "is a tagger")
    mistake(2, ["train", "pos-default", "--iss-json", write("a.json", "{}"), "--out", tmp_path / "c"], "--iss-json")


def test_a_very_long_sentence_is_tagged_in_bounded_memory(refrain, run, write):
    outcome = refrain("tag", run, write("a.txt", "dogs " * 12_000 + "\n"), "--tokenised")
    assert outcome.status == 0 and len(rows(outcome.out)) == 12_000


def test_int8_weights_in_a_run_of_their_own(refrain, run, tmp_path):
    outcome = refrain("compress", run, "--out", tmp_path / "small", "--weights", "int8")
    assert outcome.status == 0 and "accuracy" in outcome.out
    stored = refrain("evaluate", tmp_path / "small", "--json").json
    assert stored["nats_per_token"] == refrain("evaluate", run, "--weights", "int8", "--json").json["nats_per_token"]
