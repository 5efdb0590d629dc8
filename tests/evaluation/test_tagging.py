"""Figures of taggers, worked out by hand."""

import numpy as np
import pytest
import torch

from refrain.data.tagged.buckets import Encoded
from refrain.evaluation.share import Share
from refrain.evaluation.tagging import TaggingFigure, evaluate_tags, predict_tags
from refrain.models import Tagger
from refrain.nn import LSTM, Bidirectional, Embedding


def figure(confusion):
    confusion = np.array(confusion)
    return TaggingFigure(10.0, confusion, Share(1, 2), Share(3, 4), Share(1, 1))


def test_each_tag():
    # of six A four are found, and two B are predicted as A; C is predicted once and never right, D never and nowhere
    rows = figure([[4, 1, 1, 0], [2, 3, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]).per_tag(["A", "B", "C", "D"])
    assert list(rows) == ["A", "B", "C"]
    assert rows["A"] == {"words": 6, "precision": 4 / 6, "recall": 4 / 6, "f1": pytest.approx(4 / 6)}
    assert rows["B"] == {"words": 5, "precision": 3 / 4, "recall": 3 / 5, "f1": pytest.approx(2 / 3)}
    assert rows["C"] == {"words": 0, "precision": 0.0, "recall": 0.0, "f1": 0.0}


def test_the_document():
    found = figure([[3, 1], [0, 4]]).document()
    assert (found["tokens"], found["accuracy"], found["nats_per_token"]) == (8, 7 / 8, 10 / 8)
    assert found["seen"]["accuracy"] == 0.5 and found["unseen"]["right"] == 3


def test_words_without_a_known_tag_have_no_loss():
    new = TaggingFigure(0.0, np.array([[0, 0], [2, 0]]), Share(0, 2), Share(0, 0), Share(0, 1), new_tags=("X",))
    empty = figure([[0, 0], [0, 0]])
    assert new.document()["nats_per_token"] is None and empty.nats_per_token is None


@pytest.fixture
def tagger():
    torch.manual_seed(1)
    model = Tagger(Embedding(9, 4), [Bidirectional(LSTM(4, 3), LSTM(4, 3))], 5)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


def sentences(lengths=(3, 1, 6, 2)):
    draw = np.random.default_rng(1)
    return [Encoded(draw.integers(9, size=(length, 1)), draw.integers(5, size=length)) for length in lengths]


def test_predictions_are_in_order_and_do_not_depend_on_the_batch(tagger):
    several = predict_tags(tagger, sentences(), batch_size=3)
    for sentence, guesses in zip(sentences(), several, strict=True):
        logits = tagger.logits(torch.from_numpy(sentence.inputs)[:, None])
        assert guesses.tolist() == logits.argmax(dim=1).tolist()
    assert tagger.training
    assert predict_tags(tagger, []) == []


def test_an_evaluation_is_the_sum_of_its_words(tagger):
    seen = [np.arange(len(each.tags)) % 2 == 0 for each in sentences()]
    found = evaluate_tags(tagger, sentences(), seen, batch_size=2)
    nats, right, whole, known = 0.0, 0, 0, 0
    for sentence, own in zip(sentences(), seen, strict=True):
        logits = tagger.logits(torch.from_numpy(sentence.inputs)[:, None])
        nats -= logits.log_softmax(dim=1)[range(len(sentence.tags)), sentence.tags].sum().item()
        hits = logits.argmax(dim=1).numpy() == sentence.tags
        right, whole, known = right + hits.sum(), whole + hits.all(), known + hits[own].sum()
    assert found.nats == pytest.approx(nats)
    assert found.words == (right, 12)
    assert found.seen == (known, 7) and found.unseen == (right - known, 5)
    assert found.sentences == (whole, 4)
    assert (
        found.confusion.sum(axis=1).tolist()
        == np.bincount(np.concatenate([each.tags for each in sentences()]), minlength=5).tolist()
    )


def test_the_picture_is_one():
    pytest.importorskip("matplotlib")
    from refrain.pictures.confusion import confusion_picture

    picture = confusion_picture(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]), ["$", "PRP$", "X"], "a title")
    assert picture.startswith(b"\x89PNG")
