"""Probes on features whose best answer is known, and the figures beside them in closed form."""

import math

import numpy as np
import pytest

from refrain.errors import DataError, UserError
from refrain.evaluation import probe
from refrain.evaluation.probe import bag_of_words, best_unit, fit_logistic, mcnemar

UNIT, UNITS = 300, 310


def separable(draw, rows, *, planted=UNIT, above=1):
    """Noise of 310 units; one of them is above 2 for a class and below 2 for the other."""
    classes = draw.integers(0, 2, rows)
    features = draw.normal(size=(rows, UNITS)).astype(np.float32)
    features[:, planted] = 2 + np.where(classes == above, 1, -1) * draw.uniform(0.1, 1, rows)
    return features, classes


def table(above=1, sizes=(200, 80, 90)):
    draw = np.random.default_rng(5)
    made = {split: separable(draw, rows, above=above) for split, rows in zip(probe.SPLITS, sizes, strict=True)}
    return {split: features for split, (features, _) in made.items()}, {s: classes for s, (_, classes) in made.items()}


@pytest.mark.parametrize("above", [0, 1])
def test_the_planted_unit_is_found(above):
    rows, classes = table(above)
    found = best_unit(rows, classes)
    assert (found.unit, found.above) == (UNIT, above)
    assert 1.9 < found.threshold < 2.1
    assert found.shares["train"].accuracy == 1 and found.shares["valid"].accuracy == 1
    assert found.shares["test"].accuracy > 0.97


def test_the_logistic_probe_uses_the_planted_unit():
    rows, classes = table()
    found = fit_logistic(rows, classes)
    assert found.units_used == np.count_nonzero(found.weights) < 60
    assert np.abs(found.weights).argmax() == UNIT and found.weights[UNIT] > 0
    assert found.share("test").accuracy > 0.9 and found.converged
    assert found.share("test").total == 90 == len(found.right["test"])


def test_the_strength_is_chosen_on_the_validation_rows_and_the_smallest_of_equals():
    # weights of zero, and a probe that knows the class: one strength leaves the first, all others give the second
    rows = {split: np.array([[-1.0], [1.0]] * 20) for split in probe.SPLITS}
    classes = {split: np.array([0, 1] * 20) for split in probe.SPLITS}
    found = fit_logistic(rows, classes, strengths=[8.0, 1e-3, 2.0, 4.0])
    assert found.strength == 2.0 and found.units_used == 1
    # valid says the contrary of train, so that no weight at all is best there
    contrary = {**classes, "valid": 1 - classes["valid"]}
    found = fit_logistic(rows, contrary, strengths=[8.0, 1e-3, 2.0, 4.0])
    assert found.strength == 1e-3 and found.units_used == 0


def test_the_test_rows_take_no_part():
    rows, classes = table()
    other = {**classes, "test": 1 - classes["test"]}
    first, second = (fit_logistic(rows, each) for each in (classes, other))
    assert first.strength == second.strength and (first.weights == second.weights).all()
    assert best_unit(rows, classes).unit == best_unit(rows, other).unit


def brute_force(values, classes):
    """The most rows that any threshold and direction get right."""
    cuts = [-math.inf, *((a + b) / 2 for a in values for b in values), math.inf]
    return max(int((((values > cut) == above) == classes).sum()) for cut in cuts for above in (0, 1))


@pytest.mark.parametrize("seed", range(20))
def test_thresholds_are_the_best_there_are(seed):
    draw = np.random.default_rng(seed)
    rows = draw.integers(2, 12)
    # few values, so that many are equal
    values, classes = draw.integers(0, 4, (rows, 3)).astype(np.float32), draw.integers(0, 2, rows)
    for column in range(3):
        alone = {split: values[:, [column]] for split in probe.SPLITS}
        found = best_unit(alone, dict.fromkeys(probe.SPLITS, classes))
        assert found.shares["train"].right == brute_force(values[:, column].astype(float), classes)


def test_a_unit_is_chosen_on_the_validation_rows():
    # the first unit is perfect in training and useless in validation, the second the other way about
    train, valid = np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]]), np.array([[0, 0], [1, 0], [0, 1], [1, 1.0]])
    classes = np.array([0, 0, 1, 1])
    rows = {"train": train, "valid": valid, "test": train}
    assert best_unit(rows, dict.fromkeys(probe.SPLITS, classes)).unit == 1
    # of units that are equal there, the better one in training
    rows["valid"] = np.repeat(valid[:, [1]], 2, axis=1)
    assert best_unit(rows, dict.fromkeys(probe.SPLITS, classes)).unit == 0


@pytest.mark.parametrize(
    ("first", "second", "both", "p_value"),
    [
        (0, 0, 5, 1.0),
        (3, 3, 0, 1.0),
        # of five tosses all are heads, or all tails: 2 / 32
        (5, 0, 7, 0.0625),
        (0, 5, 0, 0.0625),
        # of ten tosses at most two are heads, or at most two tails: 2 (1 + 10 + 45) / 1024
        (2, 8, 100, 0.109375),
    ],
)
def test_mcnemar(first, second, both, p_value):
    one = np.array([True] * first + [False] * second + [True] * both)
    other = np.array([False] * first + [True] * second + [True] * both)
    assert mcnemar(one, other) == pytest.approx(p_value)


def test_mcnemar_is_the_binomial_test():
    stats = pytest.importorskip("scipy.stats")
    one, other = np.random.default_rng(1).integers(0, 2, (2, 5000)) > 0
    wanted = stats.binomtest(int((one & ~other).sum()), int((one != other).sum())).pvalue
    assert mcnemar(one, other) == pytest.approx(wanted)


def test_bags_of_words():
    texts = {"train": ["A cat, a CAT", "the dog"], "valid": ["cat bird"], "test": [""]}
    rows = bag_of_words(texts)
    # a, cat, dog, the
    assert rows["train"].toarray().tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]
    assert rows["valid"].toarray().tolist() == [[0, 1, 0, 0]]
    assert rows["test"].toarray().tolist() == [[0, 0, 0, 0]]
    with pytest.raises(DataError, match="hold no words"):
        bag_of_words({"train": ["...", "!"], "valid": [], "test": []})


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.linear_model", None)
    with pytest.raises(UserError, match=r"a probe needs scikit-learn: pip install 'refrain-lm\[probe\]'"):
        fit_logistic(*table(sizes=(4, 4, 4)))
