"""Spans of tags, by hand and beside seqeval, and their precision, recall and F1."""

import random

import pytest

from refrain.evaluation.spans import Span, are_span_tags, span_figure, spans_of

# as conlleval reads them: IOB1, IOB2 and BIOES, with and without mistakes in the order of tags
SPANS = {
    "O B-A I-A O": [("A", 1, 2)],
    "I-A I-A": [("A", 0, 1)],
    "B-A B-A": [("A", 0, 0), ("A", 1, 1)],
    "I-A B-A I-A": [("A", 0, 0), ("A", 1, 2)],
    "B-A I-B": [("A", 0, 0), ("B", 1, 1)],
    "S-A S-A B-A E-A": [("A", 0, 0), ("A", 1, 1), ("A", 2, 3)],
    "B-A E-A I-A": [("A", 0, 1), ("A", 2, 2)],
    "O E-A O": [("A", 1, 1)],
    "O O": [],
    "B-the-A I-the-A": [("the-A", 0, 1)],
}


@pytest.mark.parametrize("tags", SPANS)
def test_spans(tags):
    assert spans_of(tags.split()) == {Span(*each) for each in SPANS[tags]}
    # what is no span tag is outside of all
    assert spans_of(tags.replace("O", "_").split()) == {Span(*each) for each in SPANS[tags]}


@pytest.mark.parametrize(
    ("tags", "wanted"),
    [
        ("O B-A I-A", True),
        ("S-A E-B O", True),
        ("O", False),
        ("B A O", False),
        ("NOUN B-A", False),
        ("O B-", False),
        ("_ B-A", True),
        ("_ O", False),
    ],
)
def test_which_tags_mark_spans(tags, wanted):
    assert are_span_tags(tags.split()) is wanted


def test_figures_by_hand():
    # two of three spans are right, of four that are predicted
    true = ["B-A", "I-A", "O", "B-B", "B-A"]
    predicted = ["B-A", "I-A", "B-B", "B-B", "O"]
    found = span_figure([(true, predicted), (["O"], ["S-B"])])
    assert found.all == (3, 4, 2)
    assert found.types == {"A": (2, 1, 1), "B": (1, 3, 1)}
    assert found.document()["precision"] == 2 / 4 and found.document()["recall"] == 2 / 3
    assert found.document()["f1"] == pytest.approx(4 / 7)
    assert span_figure([(["O"], ["O"])]).document()["f1"] == 0.0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("prefixes", ["BI", "BIES"])
def test_figures_equal_those_of_seqeval(prefixes):
    metrics = pytest.importorskip("seqeval.metrics")
    draw = random.Random(len(prefixes))
    tags = ["O", *(f"{prefix}-{kind}" for prefix in prefixes for kind in ("PER", "LOC"))]
    for _ in range(50):
        lengths = [draw.randrange(1, 12) for _ in range(6)]
        true, predicted = ([draw.choices(tags, k=length) for length in lengths] for _ in range(2))
        found = span_figure(zip(true, predicted, strict=True)).document()
        wanted = {
            "precision": metrics.precision_score(true, predicted, zero_division=0),
            "recall": metrics.recall_score(true, predicted, zero_division=0),
            "f1": metrics.f1_score(true, predicted, zero_division=0),
        }
        assert {name: found[name] for name in wanted} == pytest.approx(wanted)
        report = metrics.classification_report(true, predicted, output_dict=True, zero_division=0)
        for kind, figure in found["types"].items():
            assert report[kind]["support"] == figure["spans"]
            assert report[kind]["f1-score"] == pytest.approx(figure["f1"])
