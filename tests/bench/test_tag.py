"""The figures of the bench of taggers, and the features of the model that it compares with."""

import math

import numpy as np
import pytest

from refrain.bench import tag
from refrain.bench.tag_features import sentence_features
from refrain.data import Sentence
from refrain.evaluation.share import Share


def test_figures_worked_out_by_hand():
    # four words, of which the last is unseen; two seeds with 3 and 4 right, and a random field with 1 right
    unseen = np.array([False, False, False, True])
    runs = [tag.Trained(np.array([1, 1, 0, 1], bool), 2.0), tag.Trained(np.ones(4, bool), 4.0)]
    crf = [tag.Trained(np.array([0, 0, 0, 1], bool), 9.0)]
    row = tag._row("ours", runs, unseen, crf)
    assert (row["accuracy"], row["unseen"], row["cpu_seconds"]) == (7 / 8, 1.0, 3.0)
    assert row["accuracy_deviation"] == pytest.approx(math.sqrt(2) / 8)
    # Student's t with one degree of freedom: 12.706 * deviation / sqrt(2), which is cut at 0 and 1
    assert row["accuracy_interval"] == (0.0, 1.0)
    close = tag._mean("accuracy", [0.50, 0.52], 100)["accuracy_interval"]
    assert close == pytest.approx((0.51 - 0.12706, 0.51 + 0.12706))
    # by word the differences are 1, 1, 1/2 and 0: mean 5/8, variance 11/48
    half = 1.959964 * math.sqrt(11 / 48) / 2
    assert row["difference"] == 5 / 8
    assert row["difference_interval"] == pytest.approx((5 / 8 - half, 5 / 8 + half))
    # a single unseen word has no variance
    assert row["unseen_difference"] is row["unseen_difference_interval"] is None
    row = tag._row("ours", runs, np.array([True, False, True, False]), crf)
    half = 1.959964 * math.sqrt(1 / 8) / math.sqrt(2)
    assert row["unseen_difference"] == 3 / 4
    assert row["unseen_difference_interval"] == pytest.approx((3 / 4 - half, 3 / 4 + half))
    alone = tag._row("crf", crf, unseen, crf)
    assert alone["difference"] is None and alone["accuracy_interval"] == Share(1, 4).interval


def test_features_of_a_word_and_its_neighbours():
    first, second, third = sentence_features(["The", "dog", "barked"])
    assert (first["word"], first["lower"], first["suffix2"], first["title"]) == ("The", "the", "he", True)
    assert first["1:suffix3"] == "dog" and first["2:word"] == "barked" and "2:suffix1" not in first
    assert first["-1:outside"] and first["-2:outside"] and third["1:outside"]
    assert second["-1:prefix1"] == "T" and "0:word" not in second


def test_words_without_annotation_are_in_no_figure():
    sentences = [Sentence(("x", "y", "z"), ("A", "", "B"), 1)]
    assert tag._hits([["A", "A", "A"]], sentences).tolist() == [True, False]


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 12.706), (10, 2.228), (11, 2.201), (14, 2.145), (29, 2.045)])
def test_quantiles_of_students_distribution(freedom, quantile):
    assert tag.student(freedom) == pytest.approx(quantile, abs=5e-4)
