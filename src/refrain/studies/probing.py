"""A probe of a trained model: classifiers of labelled texts on the model's states, compared with baselines."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from refrain.assembly.corpus import quiet
from refrain.assembly.model import build_language_model
from refrain.config import Experiment
from refrain.data.text.cleaning import Cleaning
from refrain.data.text.labelled import Labelled, two_labels
from refrain.evaluation.probe import (
    LogisticProbe,
    UnitProbe,
    bag_of_words,
    best_unit,
    fit_logistic,
    mcnemar,
)
from refrain.generation import Part
from refrain.progress import Reporter
from refrain.trained.language_model import TrainedLanguageModel
from refrain.trained.texts import Count


@dataclass(frozen=True)
class View:
    """The state that a probe reads, and how the texts are prepared and batched.

    Attributes:
        layer: the index of the layer, from 0 at the bottom; None is the last layer.
        which: the part of the state; None is the cell state, or the hidden state for a layer without cell state.
        cleaning: see `TrainedLanguageModel.prepare`.
        batch_size: the number of texts in a batch.
    """

    layer: int | None = None
    which: Part | None = None
    cleaning: Cleaning | None = None
    batch_size: int = 64


@dataclass(frozen=True)
class Row:
    """A row of the comparison: a probe of the model's states or of the features of a baseline."""

    name: str
    features: int
    logistic: LogisticProbe
    unit: UnitProbe | None
    p_value: float | None  # McNemar's test against the trained model, on the test texts

    def document(self) -> dict[str, Any]:
        """Return the row as plain data."""
        return {
            "name": self.name,
            "features": self.features,
            "units_used": self.logistic.units_used,
            "C": self.logistic.strength,
            "converged": self.logistic.converged,
            **{f"{split}_accuracy": self.logistic.share(split).accuracy for split in ("train", "valid", "test")},
            "test_interval": list(self.logistic.share("test").interval or ()),
            "best_unit_accuracy": self.unit.shares["test"].accuracy if self.unit else None,
            "p_value": self.p_value,
        }


@dataclass(frozen=True)
class Probing:
    """A probe of a model with all its results.

    Attributes:
        tables: split -> the labelled texts.
        counts: split -> the size of its texts for the model.
        labels: the labels of class 0 and class 1.
        view: the view of the state, with layer, part and cleaning filled in.
        states: split -> features (N, H).
        rows: the probe of the trained model, then those of the baselines.
    """

    tables: Mapping[str, Labelled]
    counts: dict[str, Count]
    labels: tuple[str, str]
    view: View
    states: dict[str, NDArray[np.float32]]
    rows: list[Row]

    @property
    def unit(self) -> UnitProbe:
        """The best unit of the trained model."""
        unit = self.rows[0].unit
        assert unit is not None
        return unit

    def document(self) -> dict[str, Any]:
        """Return the results as plain data; `accuracy` is the accuracy on the test texts."""
        trained = self.rows[0]
        unit = self.unit
        return {
            "layer": self.view.layer,
            "which": self.view.which,
            "cleaning": self.view.cleaning,
            "labels": list(self.labels),
            **{split: count._asdict() for split, count in self.counts.items()},
            "accuracy": trained.logistic.share("test").accuracy,
            "interval": list(trained.logistic.share("test").interval or ()),
            "train_accuracy": trained.logistic.share("train").accuracy,
            "valid_accuracy": trained.logistic.share("valid").accuracy,
            "C": trained.logistic.strength,
            "converged": trained.logistic.converged,
            "units": trained.features,
            "units_used": trained.logistic.units_used,
            "best_unit": unit.unit,
            "best_unit_threshold": unit.threshold,
            "best_unit_above": self.labels[unit.above],
            "best_unit_accuracy": unit.shares["test"].accuracy,
            "best_unit_interval": list(unit.shares["test"].interval or ()),
            "best_unit_valid_accuracy": unit.shares["valid"].accuracy,
            "rows": [row.document() for row in self.rows],
        }


def probe(
    lm: TrainedLanguageModel,
    tables: Mapping[str, Labelled],
    view: View | None = None,
    *,
    baselines: bool = False,
    log: Callable[[str], None] = quiet,
    reports: Reporter | None = None,
) -> Probing:
    """Fit a probe on the final states of a model after reading labelled texts.

    The weights are fitted on `train`, the strength of the penalty is chosen on `valid`, and `test` is only measured.

    Args:
        lm: the trained model.
        tables: the labelled texts of train, valid and test, with two labels.
        view: the state to read; None is the last layer's cell state, with texts prepared as in training.
        baselines: also fit the same probe on the words of the texts and on the states of the untrained network, and
            test whether their accuracies on the test texts differ.
        log: called with a line of text for each step that takes time.
        reports: reports these steps while they run; None reports nothing.

    Raises:
        UserError: when scikit-learn is not installed, or the model lacks the layer or the part of the state.
        DataError: when the tables do not have the same two labels.
        FloatingPointError: when a state is not finite.
    """
    reports = reports or Reporter(None)
    labels = two_labels(tables)
    view, states = _states(lm, tables, view or View(), log, reports)
    classes = {split: np.array([labels.index(label) for label in table.labels]) for split, table in tables.items()}
    log("fitting the probe")
    with reports.step("fitting the probe"):
        logistic = fit_logistic(states, classes)
        rows = [Row("trained", states["train"].shape[1], logistic, best_unit(states, classes), None)]
    if baselines:
        _, before = _states(untrained(lm), tables, view, log, reports)
        words = bag_of_words({split: table.texts for split, table in tables.items()})
        for name, features in (("untrained", before), ("bag of words", words)):
            log(f"fitting the probe: {name}")
            with reports.step(f"fitting the probe: {name}"):
                other = fit_logistic(features, classes)
                p_value = mcnemar(logistic.right["test"], other.right["test"])
                unit = best_unit(features, classes) if name == "untrained" else None
            rows.append(Row(name, features["train"].shape[1], other, unit, p_value))
    counts = {split: lm.count(table.texts, cleaning=view.cleaning) for split, table in tables.items()}
    return Probing(tables, counts, labels, view, states, rows)


def untrained(lm: TrainedLanguageModel) -> TrainedLanguageModel:
    """Return the network as it was initialised before training, from the seed of the run."""
    experiment = Experiment.model_validate(lm.config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(experiment.training.seed)
        model = build_language_model(experiment, lm.vocabulary)
    device = next(lm.model.parameters()).device
    return TrainedLanguageModel(model.to(device), lm.vocabulary, lm.config, lm.folder)


def _states(
    lm: TrainedLanguageModel,
    tables: Mapping[str, Labelled],
    view: View,
    log: Callable[[str], None],
    reports: Reporter,
) -> tuple[View, dict[str, NDArray[np.float32]]]:
    """Return the view with layer, part and cleaning filled in, and the final states of every split."""
    states = {}
    for split, table in tables.items():
        log(f"reading {len(table.texts):,} texts ({split})")
        found = lm.features(
            table.texts,
            layer=view.layer,
            which=view.which,
            cleaning=view.cleaning,
            batch_size=view.batch_size,
            track=reports.track,
        )
        which: Part = view.which or ("hidden" if found.cell is None else "cell")
        states[split] = found.part(which).numpy()
        if not np.isfinite(states[split]).all():
            raise FloatingPointError("the model's states are not finite numbers; its training has diverged")
    layer = len(lm.model.stack.layers) - 1 if view.layer is None else view.layer
    cleaning: Cleaning = view.cleaning or lm.config["data"].get("cleaning", "none")
    return View(layer, which, cleaning, view.batch_size), states
