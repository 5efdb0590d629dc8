"""The files of a probe: its figures as JSON, and pictures of its best unit."""

import json
from collections.abc import Sequence

import numpy as np

from refrain.pictures.heat_map import Passage, page, pieces, scale_of
from refrain.pictures.probe import heat_map_picture, histogram
from refrain.trained.language_model import TrainedLanguageModel

from .probing import Probing

# the number of test texts of each class on the heat map
SHOWN = 4


def passages(lm: TrainedLanguageModel, probing: Probing, texts: Sequence[str], names: Sequence[str]) -> list[Passage]:
    """Return texts with the value of the best unit after each of their characters or words.

    Args:
        lm: the trained model.
        probing: a probe of the model.
        texts: the texts to show.
        names: a name for each text, which its caption begins with.
    """
    view = probing.view
    unit = probing.unit
    found = lm.features(
        texts,
        layer=view.layer,
        units=[unit.unit],
        which=view.which,
        cleaning=view.cleaning,
        batch_size=view.batch_size,
    )
    shown = []
    for text, name, trace in zip(texts, names, found.traces, strict=True):
        values = [float(value) for value in trace[:, 0]]
        result = ""
        if values:
            label = probing.labels[unit.above if values[-1] > unit.threshold else 1 - unit.above]
            result = f", ends at {values[-1]:.3f}: predicted {label}"
        cleaned = lm.prepare(text, cleaning=view.cleaning)
        shown.append(Passage(name + result, pieces(lm.vocabulary.pieces(cleaned), values)))
    return shown


def some_test_texts(probing: Probing) -> tuple[list[str], list[str]]:
    """Return the first test texts of each label in turn, regardless of the predictions, and a name for each text."""
    table = probing.tables["test"]
    by_label = [[text for text, own in zip(*table, strict=True) if own == label] for label in probing.labels]
    texts = []
    names = []
    for index in range(SHOWN):
        for label, own in zip(probing.labels, by_label, strict=True):
            if index < len(own):
                texts.append(own[index])
                names.append(f"label {label}")
    return texts, names


def files(probing: Probing, shown: Sequence[Passage], notes: Sequence[str]) -> dict[str, str | bytes]:
    """Return the files of a probe by name: the figures, and a histogram and heat maps of the best unit.

    Args:
        probing: the probe.
        shown: the texts of the heat map, from `passages`.
        notes: lines below the heading of the HTML page.

    Raises:
        UserError: when matplotlib is not installed.
    """
    unit, labels = probing.unit, probing.labels
    scale = scale_of(shown, unit.threshold, f"label {labels[1 - unit.above]}", f"label {labels[unit.above]}")
    values = probing.states["test"][:, unit.unit]
    high = np.array([label == labels[unit.above] for label in probing.tables["test"].labels])
    name = f"unit {unit.unit} of layer {probing.view.layer}, {probing.view.which} state"
    share = unit.shares["test"]
    accuracy = f"{100 * share.right / share.total:.1f}\u00a0%"
    title = f"{name[0].upper()}{name[1:]}: alone right on {accuracy} of {share.total:,} test texts"
    return {
        "probe.json": json.dumps(probing.document(), indent=1) + "\n",
        "histogram.png": histogram(values[~high], values[high], scale, title=title, label=f"{name}, after a text"),
        "heat-map.png": heat_map_picture(title, shown, scale),
        "heat-map.html": page(title, notes, shown, scale),
    }
