"""`refrain evaluate RUN RUN`: each row is what its run has alone, and a text is read once where vocabularies agree."""

import shutil

import pytest
from tagged import write_tsv

from refrain.cli.app import main
from refrain.cli.evaluate_several import OF_TAGGERS, _report

TAGGER = (
    "model.embedding_size=8", "model.hidden_sizes=[8]", "training.epochs=1", "training.batch_size=8",
    "training.stop_window=none", "training.device=cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def taggers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("taggers")
    corpus = write_tsv(folder / "toy")
    for seed in (1, 2):
        words = ["train", "pos-default", *TAGGER, f"training.seed={seed}", "--data", corpus, "--quiet"]
        assert main([str(word) for word in [*words, "--out", folder / f"seed-{seed}"]]) == 0
    return folder


def without_clock(row):
    return {name: value for name, value in row.items() if name not in ("tokens_per_second", "unseen", "warnings")}


@pytest.fixture
def other_run(tiny_run, tmp_path):
    return shutil.copytree(tiny_run, tmp_path / "copy", symlinks=True)


def test_each_row_is_that_of_the_run_alone(refrain, tiny_run, other_run, byte_run):
    runs = [tiny_run, other_run, byte_run]
    for more in ([], ["--split", "valid", "--protocol", "zaremba"]):
        rows = refrain("evaluate", *runs, *more, "--json").json["runs"]
        alone = [refrain("evaluate", run, *more, "--json").json for run in runs]
        assert [without_clock(row) for row in rows] == [without_clock(one) for one in alone]
    assert rows[0]["perplexity"] == rows[1]["perplexity"] != rows[2]["perplexity"]


def test_the_text_is_read_once_for_each_vocabulary(refrain, tiny_run, other_run, byte_run, monkeypatch):
    from refrain.cli import evaluate_texts

    read = []
    build = evaluate_texts.build
    monkeypatch.setattr(evaluate_texts, "build", lambda *given: (read.append(given[1].unit), build(*given))[1])
    refrain("evaluate", tiny_run, other_run, byte_run, byte_run, "--json")
    assert read == ["word", "byte"]


def test_methods_have_a_row_each_and_what_is_common_is_printed_once(refrain, tiny_run, other_run):
    done = refrain("evaluate", tiny_run, other_run, "--method", "static", "--method", "cache")
    about, _, head, *rows = done.out.splitlines()
    assert about == "corpus tiny  split test  protocol exact"
    assert head.split()[:3] == ["run", "method", "tokens"] and len(rows) == 4
    assert [row.split()[1] for row in rows] == ["static", "cache"] * 2
    assert "the vocabularies differ" not in done.err


def test_a_note_where_figures_per_token_cannot_be_compared(refrain, tiny_run, byte_run):
    assert "note: the vocabularies differ" in refrain("evaluate", tiny_run, byte_run).err


def test_methods_that_score_fewer_tokens_have_the_same_vocabulary(refrain, tiny_run, other_run):
    words = ["--method", "static", "--method", "dynamic", "--streams", "2"]
    done = refrain("evaluate", tiny_run, other_run, *words, "--json")
    assert len({row["tokens"] for row in done.json["runs"]}) == 2
    assert "the vocabularies differ" not in done.err


def test_a_note_where_the_texts_differ(refrain, tiny_run, tiny_settings, tiny_corpus, tmp_path):
    corpus, out = shutil.copytree(tiny_corpus, tmp_path / "other"), tmp_path / "run"
    same = refrain("train", "zaremba-small", *tiny_settings, "--data", corpus, "--out", out, "--quiet")
    assert same.status == 0
    assert "note" not in refrain("evaluate", tiny_run, out).err
    test = next(path for path in corpus.iterdir() if "test" in path.name)
    test.write_text("ant bee\n" * 30)
    said = refrain("evaluate", tiny_run, out).err
    assert f"note: {out} reads another text than {tiny_run}, so their figures cannot be compared; name" in said
    assert "the vocabularies differ" not in said
    assert "note" not in refrain("evaluate", tiny_run, out, "--data", tiny_corpus).err


def test_a_note_where_the_sentences_of_taggers_differ(refrain, taggers, tmp_path):
    corpus = write_tsv(tmp_path / "other")
    words = [*TAGGER, "--data", corpus, "--out", tmp_path / "run", "--quiet"]
    assert refrain("train", "pos-default", *words).status == 0
    test = corpus / "toy.test.tsv"
    test.write_text(test.read_text() + "the\tDET\ndogs\tNOUN\n\n")
    assert "reads another text than" in refrain("evaluate", taggers / "seed-1", tmp_path / "run").err
    assert "reads another text than" not in refrain("evaluate", taggers / "seed-1", taggers / "seed-2").err


@pytest.fixture
def folds(refrain, tmp_path):
    """Runs of a cross-validation, whose test sentences are of one file."""
    corpus = write_tsv(tmp_path / "toy") / "toy.train.tsv"
    words = ["train", "pos-default", *TAGGER, "--data", corpus, "--folds", "3", "--out", tmp_path / "folds", "--quiet"]
    assert refrain(*words).status == 0
    return tmp_path / "folds"


def test_folds_are_measured_on_different_sentences(refrain, mistake, folds):
    said = refrain("evaluate", folds / "fold-1", folds / "fold-2").err
    assert "reads another part of" in said and "because data.fold is 1 and 2" in said
    mistake(
        3, ["compare", folds, "--split", "test"], "has another text than", "name one text for all models with --data"
    )


def test_cuts_of_a_file_are_different_sentences(refrain, tmp_path):
    corpus = write_tsv(tmp_path / "toy") / "toy.train.tsv"
    for name, share in (("a", "[0.8,0.1]"), ("b", "[0.6,0.2]")):
        words = [*TAGGER, f"data.split={share}", "--data", corpus, "--out", tmp_path / name, "--quiet"]
        assert refrain("train", "pos-default", *words).status == 0
    said = refrain("evaluate", tmp_path / "a", tmp_path / "b").err
    assert "reads another part of" in said and "because data.split is [0.8, 0.1] and [0.6, 0.2]" in said


def test_an_accuracy_of_zero_is_shown(capsys):
    rows = [{"run": name, "corpus": "toy", "split": "test", "tokens": 4, "accuracy": 0.0} for name in ("a", "b")]
    _report(rows, OF_TAGGERS)
    assert "accuracy" in capsys.readouterr().out


def test_taggers(refrain, taggers):
    runs = [taggers / "seed-1", taggers / "seed-2"]
    rows = refrain("evaluate", *runs, "--json").json["runs"]
    for run, row in zip(runs, rows, strict=True):
        alone = refrain("evaluate", run, "--json").json
        assert row == {name: alone[name] for name in row}
    lines = refrain("evaluate", *runs).out.splitlines()
    assert f"{rows[1]['accuracy']:.2%}" in lines[-1]


def test_mistakes(mistake, tiny_run, other_run, taggers, tmp_path):
    mistake(2, ["evaluate", tiny_run, taggers / "seed-1"], "is a tagger", "measure them apart")
    mistake(4, ["evaluate", tiny_run, tmp_path / "gone"], "gone: no such run folder")
    for words in (["--search", "2", "--method", "cache"], ["--per-token", tmp_path / "x.tsv"]):
        mistake(2, ["evaluate", tiny_run, other_run, *words], f"{words[0]}: cannot take effect with several runs")
