"""Linear probes of the states of a model (Radford et al., 2017, section 3).

One probe is an L1 logistic regression whose strength is chosen on the validation rows, the other is the single unit
whose threshold separates the classes best. States are not scaled, as in the paper, so units of small variance have
little influence.

N rows, F features (units), two classes 0 and 1.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refrain.errors import DataError, UserError

from .share import Share

# the values that Radford et al. searched, and one more
STRENGTHS = tuple(2.0**power for power in range(-8, 2))
SPLITS = ("train", "valid", "test")
COLUMNS_AT_ONCE = 256

Rows = Mapping[str, Any]  # split -> features (N, F), a numpy array or a sparse matrix
Classes = Mapping[str, NDArray[np.int64]]  # split -> the class of each row (N,)


@dataclass(frozen=True)
class LogisticProbe:
    """An L1 logistic regression, fitted on the training rows alone.

    Attributes:
        strength: C, the inverse of the penalty, that was best on the validation rows.
        weights: the weights (F,).
        right: for each split, which rows (N,) are classified correctly.
        converged: whether the solver reached its tolerance.
    """

    strength: float
    weights: NDArray[np.float64]
    right: dict[str, NDArray[np.bool_]]
    converged: bool

    @property
    def units_used(self) -> int:
        """The number of features with a non-zero weight."""
        return int(np.count_nonzero(self.weights))

    def share(self, split: str) -> Share:
        """How many rows of a split are classified correctly."""
        return Share(int(self.right[split].sum()), len(self.right[split]))


@dataclass(frozen=True)
class UnitProbe:
    """A single unit and a threshold, fitted on the training rows; the unit was chosen on the validation rows.

    Attributes:
        unit: the index of the unit.
        threshold: the threshold between the classes.
        above: the class above the threshold, 0 or 1.
        shares: for each split, how many rows are classified correctly.
    """

    unit: int
    threshold: float
    above: int
    shares: dict[str, Share]


def fit_logistic(rows: Rows, classes: Classes, *, strengths: Sequence[float] = STRENGTHS) -> LogisticProbe:
    """Fit on `train` at each strength and return the best on `valid`; of equally good ones, that of the smallest C.

    `test` is not used. Arrays are shifted to a mean of zero over `train`: liblinear penalises the intercept like a
    weight, and without the shift the solver may take many times as long.

    Args:
        rows: the features of train, valid and test: numpy arrays, or sparse matrices, which are not shifted.
        classes: the class of each row, 0 or 1.
        strengths: the values of C to try.

    Raises:
        UserError: when scikit-learn is not installed.
    """
    linear_model = sklearn("linear_model")
    if isinstance(rows["train"], np.ndarray):
        mean = rows["train"].mean(axis=0, dtype=np.float64)
        rows = {split: rows[split] - mean for split in SPLITS}
    best: tuple[int, Any] | None = None
    for strength in sorted(strengths):
        # a tenth of the default tolerance of liblinear
        model = linear_model.LogisticRegression(
            C=strength, l1_ratio=1.0, solver="liblinear", tol=1e-3, max_iter=100, random_state=0
        )
        with warnings.catch_warnings():
            # `converged` reports the same as the warning
            warnings.simplefilter("ignore")
            model.fit(rows["train"], classes["train"])
        right = int((model.predict(rows["valid"]) == classes["valid"]).sum())
        if best is None or right > best[0]:
            best = (right, model)
    assert best is not None
    model = best[1]
    right_of = {split: model.predict(rows[split]) == classes[split] for split in SPLITS}
    return LogisticProbe(model.C, model.coef_[0], right_of, bool(model.n_iter_.max() < model.max_iter))


def best_unit(rows: Rows, classes: Classes) -> UnitProbe:
    """The single unit that separates the classes best.

    A threshold and a direction are fitted on `train` for each unit. The unit that is best on `valid` is chosen; ties
    are broken by `train`, then by the index. `test` is not used.

    Args:
        rows: the features of train, valid and test, as numpy arrays.
        classes: the class of each row, 0 or 1.
    """
    found: list[tuple[NDArray[Any], ...]] = []
    for first in range(0, rows["train"].shape[1], COLUMNS_AT_ONCE):
        columns = slice(first, first + COLUMNS_AT_ONCE)
        thresholds, above, right = _thresholds(rows["train"][:, columns], classes["train"])
        predicted = (rows["valid"][:, columns] > thresholds) == above
        found.append((thresholds, above, right, (predicted == classes["valid"][:, None]).sum(axis=0)))
    thresholds, above, train, valid = (np.concatenate(parts) for parts in zip(*found, strict=True))
    unit = int(np.lexsort((-train, -valid))[0])
    shares = {}
    for split in SPLITS:
        predicted = (rows[split][:, unit] > thresholds[unit]) == above[unit]
        shares[split] = Share(int((predicted == classes[split]).sum()), len(predicted))
    return UnitProbe(unit, float(thresholds[unit]), int(above[unit]), shares)


def _thresholds(values: NDArray[Any], classes: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The best threshold of each column of values (N, F), the class above it, and the rows it gets right; each (F,)."""
    order = values.argsort(axis=0, kind="stable")
    ordered = np.take_along_axis(values, order, axis=0).astype(np.float64)
    ones = classes[order].cumsum(axis=0)  # (N, F): rows of class 1 among the smallest
    below = np.arange(1, len(values) + 1)[:, None]
    upward = (below - ones) + (ones[-1] - ones)  # rows that are right with class 1 above the cut
    right = np.maximum(upward, len(values) - upward)
    # no threshold lies between equal values; one after the last value puts all rows on one side
    right[:-1][ordered[:-1] == ordered[1:]] = -1
    cut = right.argmax(axis=0)
    column = np.arange(values.shape[1])
    thresholds = (ordered[cut, column] + ordered[np.minimum(cut + 1, len(values) - 1), column]) / 2
    best = right[cut, column]
    return thresholds, (upward[cut, column] == best).astype(np.int64), best


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """The exact two-sided p value of McNemar's test: do two classifiers have the same accuracy on the same rows?

    Args:
        first: which rows (N,) the first classifier gets right.
        second: which rows (N,) the second classifier gets right.
    """
    only_first = int((first & ~second).sum())
    only_second = int((second & ~first).sum())
    different = only_first + only_second
    # under the null hypothesis, each is right with probability 1/2 on the rows where they differ
    tail = sum(math.comb(different, count) for count in range(min(only_first, only_second) + 1))
    p_value: float = 2 * tail / 2**different
    return min(1.0, p_value)


def bag_of_words(texts: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The words of each text as sparse features of 0 or 1, a baseline without a model.

    Args:
        texts: the texts of train, valid and test. Words are lower-cased runs of letters and digits in `train`.

    Raises:
        UserError: when scikit-learn is not installed.
        DataError: when the training texts have no words.
    """
    vectorizer = sklearn("feature_extraction.text").CountVectorizer(binary=True, token_pattern=r"(?u)\b\w+\b")
    try:
        vectorizer.fit(texts["train"])
    except ValueError:
        raise DataError("the training texts hold no words, so there is no baseline of words") from None
    return {split: vectorizer.transform(texts[split]).astype(np.float64) for split in SPLITS}


def sklearn(part: str) -> Any:
    """A module of scikit-learn.

    Raises:
        UserError: when it is not installed.
    """
    import importlib

    try:
        return importlib.import_module(f"sklearn.{part}")
    except ImportError:
        raise UserError("a probe needs scikit-learn: pip install 'refrain-lm[probe]'") from None
