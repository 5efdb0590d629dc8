"""The nats of lines are those of the protocol exact or of `score_lines`; the hits of sentences sum to the accuracy."""

import numpy as np
import pytest
from short_runs import quiet
from tagged import write_tsv

from refrain import load, recipe, runs
from refrain.assembly import build_text
from refrain.assembly.tagged_corpus import build_tagged_text
from refrain.evaluation import evaluate, protocol_windows, score_lines
from refrain.evaluation.line_figures import line_nats, sentence_hits
from refrain.runs import find


@pytest.mark.parametrize("name", ["tiny_run", "byte_run"])
def test_the_lines_sum_to_the_figure_of_the_protocol_exact(name, request, tiny_corpus):
    run = request.getfixturevalue(name)
    lm = load(run)
    corpus, split = build_text(find(run).experiment.data, tiny_corpus, "test", lm.vocabulary)
    found = line_nats(lm.model, corpus, split)
    whole = evaluate(lm.model, protocol_windows(corpus.splits[split].tokens, "exact", split=split, window_steps=0))
    assert found.values.sum() == pytest.approx(whole.nats, rel=1e-9) and found.sizes.sum() == whole.tokens
    lines = (tiny_corpus / "test.txt").read_text().splitlines()
    wanted = [len(lm.vocabulary.encode(line + "\n")) for line in lines]
    # the first token is not scored
    assert found.sizes.tolist() == [wanted[0] - 1, *wanted[1:]]
    alone = line_nats(lm.model, corpus, split, context="sentence")
    scores = list(score_lines(lm.model, lm.vocabulary, lines))
    np.testing.assert_allclose(alone.values, [score.figure.nats for score in scores], rtol=1e-6)
    assert alone.sizes.tolist() == wanted
    assert not np.allclose(alone.values[1:], found.values[1:], rtol=1e-6)


def test_the_hits_of_sentences_sum_to_the_accuracy(tmp_path):
    corpus = write_tsv(tmp_path / "toy")
    experiment = recipe("pos-default", "model.embedding_size=8", "model.hidden_sizes=[8]", "training.epochs=2",
                        "training.device=cpu", data=str(corpus))  # fmt: skip
    runs.train(experiment, tmp_path / "run", progress=quiet())
    tagger = load(tmp_path / "run", kind="tagger")
    sentences = build_tagged_text(experiment.data, corpus, "test", tagger.vocabulary).splits["test"].sentences
    found = sentence_hits(tagger.packed, tagger.vocabulary, sentences)
    figure = tagger.evaluate(sentences)
    assert (found.values.sum(), found.sizes.sum()) == (figure.words.right, figure.words.total)
    assert np.count_nonzero(found.values == found.sizes) == figure.sentences.right
    assert found.unknown == figure.unseen.total
