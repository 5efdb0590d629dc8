"""`refrain bench tag`, with and without the conditional random field of sklearn-crfsuite."""

import sys
import types

import pytest
import torch
from tagged import write_tsv

from refrain.bench import tag

TINY = (
    "model.embedding_size=4", "model.hidden_sizes=[4]", "training.epochs=2", "training.batch_size=8",
    "training.learning_rate=0.02", "training.stop_window=none",
)  # fmt: skip


class AlwaysFirst:
    """A stand-in for `sklearn_crfsuite.CRF` that gives every word the same tag."""

    def __init__(self, **settings):
        assert settings["algorithm"] == "lbfgs"

    def fit(self, features, tags):
        assert [len(each) for each in features] == [len(each) for each in tags]
        self.tag = tags[0][0]

    def predict(self, features):
        return [[self.tag] * len(each) for each in features]


@pytest.fixture
def crf(monkeypatch):
    module = types.ModuleType("sklearn_crfsuite")
    module.CRF = AlwaysFirst
    monkeypatch.setitem(sys.modules, "sklearn_crfsuite", module)
    monkeypatch.setattr(tag, "has_crf", lambda: True)


@pytest.fixture
def no_crf(monkeypatch):
    monkeypatch.setattr(tag, "has_crf", lambda: False)


@pytest.fixture
def corpus(tmp_path):
    return write_tsv(tmp_path / "toy")


def test_a_row_for_each_tagger(refrain, corpus, crf):
    threads = torch.get_num_threads()
    outcome = refrain("bench", "tag", *TINY, "--data", corpus, "--repeats", "2", "--json")
    first, second = outcome.json["rows"]
    assert (first["name"], first["runs"], first["difference"]) == (tag.CRF, 1, None)
    assert (second["name"], second["runs"]) == ("pos-default", 2)
    assert first["words"] == second["words"] > 0
    assert second["difference"] == pytest.approx(second["accuracy"] - first["accuracy"])
    low, high = second["difference_interval"]
    assert low < second["difference"] < high
    assert second["cpu_seconds"] > 0 and torch.get_num_threads() == threads
    assert "training pos-default, seed 2" in outcome.err


def test_the_accuracy_is_that_of_a_run_with_the_same_seed(refrain, corpus, no_crf, tmp_path):
    (row,) = refrain("bench", "tag", *TINY, "--data", corpus, "--repeats", "1", "--json").json["rows"]
    words = ["train", "pos-default", *TINY, "--data", corpus, "--out", tmp_path / "run", "--quiet", "--json"]
    test = refrain(*words).json["test"]
    assert row["accuracy"] == pytest.approx(test["accuracy"]) and row["words"] == test["tokens"]
    assert row["accuracy_interval"] == pytest.approx(test["interval"])
    assert row["unseen_words"] == test["unseen"]["words"]


def test_the_table_without_sklearn_crfsuite(refrain, corpus, no_crf):
    outcome = refrain("bench", "tag", *TINY, "--data", corpus, "--repeats", "1")
    assert "pip install sklearn-crfsuite" in outcome.err
    assert "unseen words" in outcome.out and "pos-default" in outcome.out and tag.CRF not in outcome.out


def test_options_that_cannot_take_effect(mistake, corpus, tmp_path):
    for option in (["--windows", "1"], ["--widths", "3"], ["--cache-window", "3"], ["--plot", tmp_path / "a.png"]):
        mistake(2, ["bench", "tag", *option], f"{option[0]} cannot take effect in bench tag")
    mistake(2, ["bench", "train", "--data", corpus], "--data cannot take effect in bench train")
    mistake(2, ["bench", "tag", "--device", "cuda"], "one thread of the CPU")
    mistake(2, ["bench", "tag", "--repeats", "0"], "--repeats must be at least 1")
    mistake(2, ["bench", "tag", "--recipe", "zaremba-small"], "is a language model", "pos-default")
    mistake(2, ["bench", "tag", "pos-dense"], "give the recipe as an option: --recipe pos-dense")
    mistake(3, ["bench", "tag", "--data", tmp_path / "none"], "no such file or folder")
