"""The run of a tagger with a skip connection and a random field: trained, stopped, resumed, evaluated and used."""

import json
import signal

import pytest
import torch
from short_runs import Stopping, quiet
from tagged import write_tsv

from refrain import runs
from refrain.assembly.tagged_corpus import build_tagged_corpus
from refrain.errors import CheckpointError
from refrain.recipes import recipe
from refrain.training import Interrupted

WORDS = (
    "model.head=crf", "model.skip_connection=true", "model.embedding_size=8", "model.hidden_sizes=[8]",
    "training.epochs=4", "training.batch_size=8", "training.learning_rate=0.02", "training.stop_window=none",
)  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_tsv(tmp_path_factory.mktemp("tagged") / "toy")


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    place = tmp_path_factory.mktemp("runs") / "tagger"
    runs.train(recipe("pos-default", *WORDS, data=str(corpus)), place, progress=quiet())
    return place


def test_it_learns_transitions_and_tags(run, corpus):
    summary = json.loads((run / "summary.json").read_text())
    assert summary["test"]["accuracy"] > 0.95
    assert "bidirectional lstm 8-8, skip connection, conditional random field" in (run / "README.md").read_text()
    tagger = runs.load_tagger(run)
    assert tagger.tag([["the", "cows"], [], ["hens"]]) == [["D", "N"], [], ["N"]]
    transitions = tagger.model.crf.transitions
    verb, noun, determiner = (tagger.vocabulary.tag_index[tag] for tag in "VND")
    # in the toy language a verb is never followed by a noun, but a determiner always
    assert transitions[determiner, noun] > transitions[verb, noun]
    sentences = build_tagged_corpus(recipe("pos-default", *WORDS, data=str(corpus)).data).splits["test"].sentences
    assert tagger.evaluate(sentences).words.accuracy == pytest.approx(summary["test"]["accuracy"])


def test_a_stopped_run_ends_as_an_unbroken_one(run, corpus, tmp_path):
    place = tmp_path / "tagger"
    with pytest.raises(Interrupted):
        runs.train(recipe("pos-default", *WORDS, data=str(corpus)), place, progress=Stopping(10, signal.SIGINT))
    runs.resume(place, progress=quiet())
    one, other = (runs.load_tagger(each).model.state_dict() for each in (run, place))
    assert {"crf.transitions", "skip.weight"} <= set(one) and all(torch.equal(one[name], other[name]) for name in one)


def test_rounded_weights_and_commands(run, refrain_main, corpus, tmp_path):
    tagger = runs.load_tagger(run, weights="int8")
    assert tagger.tag([["the", "cows"]]) == [["D", "N"]]
    refrain_main("evaluate", run, "--weights", "int8", "--json")
    text = tmp_path / "text.txt"
    text.write_text("the cows\n")
    refrain_main("tag", run, text, "--tokenised", "--out", tmp_path / "tagged.conllu")
    assert "\tN\t" in (tmp_path / "tagged.conllu").read_text()


def test_the_weights_of_a_softmax_do_not_fit(run, corpus, tmp_path):
    words = [word for word in WORDS if word != "model.head=crf"]
    with pytest.raises(CheckpointError, match=r"crf\."):
        runs.train(
            recipe("pos-default", *words, data=str(corpus)),
            tmp_path / "run",
            start_from=run,
            progress=quiet(),
        )


@pytest.fixture
def refrain_main():
    from refrain.cli.app import main

    def call(*words):
        assert main([str(word) for word in words]) == 0

    return call
