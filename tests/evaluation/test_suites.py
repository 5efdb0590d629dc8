"""Suites of SyntaxGym: the surprisal of regions, and formulas about it."""

import copy
import json

import pytest

from refrain import runs
from refrain.evaluation import surprisal_rows
from refrain.evaluation.formula import read_formula
from refrain.evaluation.suites import score_suite, suite_from

BITS = {("1", "a"): 1.0, ("2", "a"): 2.0, ("1", "b"): 3.0, ("2", "b"): 5.0, ("*", "a"): 3.0, ("*", "b"): 8.0}

TRUE = [
    "(2;%a%) < (2;%b%)",
    "( 2 ; %a% )<(*;%a%)",
    "(*;%b%) - (*;%a%) = 5",
    "[(1;%a%) > (1;%b%)] | [(2;%a%) < 2.5]",
    "((1;%a%) < (1;%b%)) & (((2;%b%) - (2;%a%)) > ((1;%b%) - (1;%a%)))",
    # & binds more tightly than |, and minus goes from left to right
    "1 < 2 | 1 > 2 & 1 > 2",
    "5 - 2 - 1 = 2",
]
FALSE = ["(2;%a%) > (2;%b%)", "(1;%a%) = (2;%a%)", "[1 < 2] & [2 < 1]"]


@pytest.mark.parametrize("text", [*TRUE, *FALSE])
def test_what_a_formula_says(text):
    assert read_formula(text).holds(BITS) is (text in TRUE)


@pytest.mark.parametrize(
    "text",
    [
        "", "(2;%a%)", "1 + 2", "(2;%a%) <", "< 1", "1 < 2 < 3", "1 < 2)", "[1 < 2)", "1 & 2", "(1 < 2) + 1",
        "(1 < 2) < 3", "(2;%a%) < __import__('os')", "a < 1", "1 < (2;a)", "1 << 2", "((((" * 1000, "(" * 9000,
    ],
)  # fmt: skip
def test_what_is_no_formula_is_refused(text):
    with pytest.raises(ValueError, match=r"formula") as caught:
        read_formula(text)
    assert "\n" not in str(caught.value)


def test_a_formula_of_thousands_of_terms():
    assert read_formula("(1;%a%) < 0" + "+1" * 4900).holds(BITS) is True
    assert read_formula("1>2" + "|1>2" * 2400).holds(BITS) is False


def regions(*contents):
    return [{"region_number": number, "content": content} for number, content in enumerate(contents, 1)]


SUITE = {
    "meta": {"name": "agreement", "metric": "sum"},
    "predictions": [{"type": "formula", "formula": "(2;%match%) < (2;%mismatch%)"}, {"formula": "(*;%match%) > 0"}],
    "items": [
        {
            "item_number": 1,
            "conditions": [
                {"condition_name": "match", "regions": regions("ant bee", " cat", "", "zebra")},
                {"condition_name": "mismatch", "regions": regions("ant bee", "bee bee", "", "zebra")},
            ],
        }
    ],
}


@pytest.fixture(scope="module")
def lm(tiny_run):
    return runs.load(tiny_run)


def test_the_surprisal_of_a_region_is_that_of_its_words(lm):
    (score,) = score_suite(lm.model, lm.vocabulary, suite_from(SUITE, "file"))
    rows = list(surprisal_rows(lm.model, lm.vocabulary, ["ant bee cat zebra", "ant bee bee bee zebra"]))
    bits = [[row.surprisal_bits for row in rows if row.sentence == number] for number in (1, 2)]
    assert score.bits["1", "match"] == pytest.approx(sum(bits[0][:2]), rel=1e-5)
    assert score.bits["2", "match"] == pytest.approx(bits[0][2], rel=1e-5)
    assert score.bits["2", "mismatch"] == pytest.approx(sum(bits[1][2:4]), rel=1e-5)
    assert score.bits["3", "match"] == 0
    assert score.bits["*", "mismatch"] == pytest.approx(sum(bits[1]), rel=1e-5)
    assert score.right == [score.bits["2", "match"] < score.bits["2", "mismatch"], True] and score.unknown == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda suite: suite.pop("predictions"), "no test suite"),
        (lambda suite: suite.update(items=[]), "no test suite"),
        (lambda suite: suite.update(items=3), "no test suite"),
        (lambda suite: suite.update(meta=3), "no test suite"),
        (lambda suite: suite["items"][0]["conditions"][0].pop("regions"), "no test suite"),
        (lambda suite: suite["predictions"].append({"formula": "(9;%match%) < 1"}), "has no region 9"),
        (lambda suite: suite["predictions"].append({"formula": "(1;%other%) < 1"}), "in a condition 'other'"),
        (lambda suite: suite["predictions"].append({"formula": "(1;%match%)"}), "is a number"),
        (lambda suite: suite["predictions"].append({"formula": 3}), "no test suite"),
        (lambda suite: suite["items"][0]["conditions"][1]["regions"][0].update(region_number=2), "region 2 twice"),
    ],
)
def test_what_is_no_suite_is_refused(change, message):
    suite = copy.deepcopy(SUITE)
    change(suite)
    with pytest.raises(ValueError, match=message):
        suite_from(json.loads(json.dumps(suite)), "file")


def test_a_condition_that_is_there_twice():
    regions = [{"region_number": 1, "content": "the"}]
    conditions = [{"condition_name": name, "regions": regions} for name in ("a", "b", "a")]
    predictions = [{"type": "formula", "formula": "(1;%a%) < (1;%b%)"}]
    document = {
        "meta": {"name": "twice"},
        "predictions": predictions,
        "items": [{"item_number": 4, "conditions": conditions}],
    }
    with pytest.raises(ValueError, match="item 4 has the condition 'a' twice"):
        suite_from(document, "twice")
