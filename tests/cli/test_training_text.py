"""Notes where the text that a model is measured on is that of its training, or has changed since."""

import pytest
from tagged import write_tsv

CHANGED = "the test text has changed since the run was trained (sha256 "


@pytest.fixture
def text(write):
    """A text of words in one file."""
    words = ["ant", "bee", "cat", "dog"]
    # lines get longer, so that a cut by bytes is at another place than one by lines
    lines = (" ".join(words[(number * step) % 4] for step in range(1, 3 + number // 80)) for number in range(400))
    return write("app.log", "".join(f"{line} {number % 7}\n" for number, line in enumerate(lines)))


@pytest.fixture
def run(refrain, train, text, tmp_path):
    assert refrain(*train(text, "--quiet")).status == 0
    return tmp_path / "run"


def test_a_text_that_has_changed(refrain, run, text):
    assert "note: " not in refrain("evaluate", run).err
    assert refrain("evaluate", run, "--json").json["warnings"] == []
    text.write_text("".join(text.read_text().splitlines(keepends=True)[:200]))
    assert f"note: {text}: {CHANGED}" in refrain("evaluate", run).err
    (warning,) = refrain("evaluate", run, "--json").json["warnings"]
    assert "it may hold lines that the model was trained on; restore the old text, or name a text with" in warning


def test_a_text_that_was_moved(refrain, mistake, run, text):
    moved = text.rename(text.with_name("moved.log"))
    gone = f"{text}: the text on which {run} was trained is no longer here; put it back here, or a link to where it is"
    mistake(3, ["evaluate", run], gone, ", or name a text with --data")
    mistake(3, ["evaluate", run, "--method", "dynamic", "--data", moved], gone)
    mistake(3, ["train", "--resume", "--out", run, "training.epochs=3"], gone)
    text.symlink_to(moved)
    assert refrain("evaluate", run).status == 0
    assert refrain("train", "--resume", "--out", run, "training.epochs=3", "--quiet").status == 0


@pytest.mark.parametrize("command", ["evaluate", "compare"])
def test_the_text_that_the_run_was_trained_on(refrain, run, text, write, command):
    copy = write("copy.txt", text.read_bytes())
    longer = write("longer.txt", text.read_bytes() + b"ant bee\n" * 9)
    for data in (text, copy, longer):
        err = refrain(command, run, "--data", data).err
        assert f"{data}: " in err and "% of it is the training text of the run" in err
    other = write("other.txt", text.read_bytes()[::-1])
    for more in (["--data", other], ["--data", text, "--split", "test"]):
        assert "is the training text" not in refrain(command, run, *more).err


def test_a_training_text_of_bytes(refrain, train, text, tmp_path):
    assert refrain(*train(text, "data.unit=byte", "training.epochs=1", "--quiet")).status == 0
    assert "90% of it is the training text" in refrain("evaluate", tmp_path / "run", "--data", text).err


def test_a_large_text_of_bytes_of_which_samples_are_hashed(refrain, train, text, tmp_path, monkeypatch):
    monkeypatch.setattr("refrain.data.units.byte.corpus.WHOLE_BYTES", 100)
    monkeypatch.setattr("refrain.data.units.byte.corpus.SAMPLE_BYTES", 10)
    run = tmp_path / "run"
    assert refrain(*train(text, "data.unit=byte", "training.epochs=1", "--quiet")).status == 0
    assert "sampled:" in (run / "manifest.json").read_text()
    assert "90% of it is the training text" in refrain("evaluate", run, "--data", text).err
    assert "note: the test text" not in refrain("evaluate", run).err
    assert refrain("train", "--resume", "--out", run, "training.epochs=2", "--quiet").status == 0


def test_sentences_of_a_tagger(refrain, tmp_path):
    corpus = write_tsv(tmp_path / "toy")
    settings = ["model.embedding_size=8", "model.hidden_sizes=[8]", "training.epochs=1", "training.device=cpu"]
    words = [*settings, "training.stop_window=none", "--data", corpus, "--out", tmp_path / "run", "--quiet"]
    assert refrain("train", "pos-default", *words).status == 0
    train, test = corpus / "toy.train.tsv", corpus / "toy.test.tsv"
    assert "100% of it is the training text" in refrain("evaluate", tmp_path / "run", "--data", train).err
    assert "note: " not in refrain("evaluate", tmp_path / "run").err
    test.write_text(test.read_text() + "the\tDET\ndogs\tNOUN\n\n")
    assert refrain("evaluate", tmp_path / "run", "--json").json["warnings"][0].startswith(f"{test}: {CHANGED}")


def test_the_table_of_several_runs_has_the_notes_of_each(refrain, train, run, text, write, tmp_path):
    bytes_run = tmp_path / "bytes"
    words = train(text, "data.unit=byte", "training.epochs=1", "--quiet")
    assert refrain(*[bytes_run if word == tmp_path / "run" else word for word in words]).status == 0
    done = refrain("evaluate", run, bytes_run)
    assert f"note: {bytes_run} reads another part of {text} than {run}, because data.unit is word and byte" in done.err
    unknown = write("unknown.txt", "gnu bee gnu cat dog\n" * 9)
    done = refrain("evaluate", run, bytes_run, "--data", unknown)
    assert f"note: {run}: unknown words, which are read as <unk>, are 33.3% of the text" in done.err
    assert "17 (32.1%)" in done.out.splitlines()[-2]
    rows = refrain("evaluate", run, bytes_run, "--data", unknown, "--json").json["runs"]
    assert any("unknown words" in line for line in rows[0]["warnings"]) and "unknown" not in str(rows[1]["warnings"])


def test_other_shares_of_the_same_text(refrain, train, run, text, tmp_path):
    other = tmp_path / "other"
    words = train(text, "data.split=[0.8,0.1]", "--quiet")
    assert refrain(*[other if word == tmp_path / "run" else word for word in words]).status == 0
    err = refrain("evaluate", run, other).err
    assert "because data.split is [0.9, 0.05] and [0.8, 0.1], so their figures cannot be compared" in err


def test_a_note_about_unknown_words_is_logged_once(refrain, train, write):
    for split in ("train", "valid", "test"):
        folder = write(f"corpus/{split}.txt", "ant bee cat dog\n" * 99 if split == "train" else "gnu yak\n" * 99).parent
    assert refrain(*train(folder)).err.count("note: unknown words, which are read as <unk>, are ") == 1
