"""The runs of a cross-validation: each fold is the test text of one run, and the figures of all are pooled."""

from collections.abc import Mapping, Sequence
from typing import Any

from refrain.config import AnyExperiment
from refrain.evaluation.share import Share
from refrain.evaluation.spans import SpanCounts


def member_of(base: AnyExperiment, number: int, folds: int | None) -> tuple[str, AnyExperiment, str]:
    """A run of a series.

    Args:
        base: the settings of the series.
        number: the seed of the run, or its fold.
        folds: the number of folds of a cross-validation; None for several seeds.

    Returns:
        The name of its folder, its settings, and the line of its recipe that differs from the others.
    """
    if folds is None:
        training = base.training.model_copy(update={"seed": number})
        return f"seed-{number}", base.model_copy(update={"training": training}), f"training.seed = {number}"
    data = base.data.model_copy(update={"fold": number})
    return f"fold-{number}", base.model_copy(update={"data": data}), f"data.fold = {number}"


def pooled(figures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of the test texts of all folds as of one text, which is the whole corpus.

    Args:
        figures: the figures of each test text.
    """
    kinds = {
        kind: Share(sum(each[kind]["right"] for each in figures), sum(each[kind]["words"] for each in figures))
        for kind in ("seen", "unseen")
    }
    words = Share(sum(share.right for share in kinds.values()), sum(share.total for share in kinds.values()))
    found: dict[str, Any] = {"words": words.total, "right": words.right, "accuracy": words.accuracy}
    found |= {"interval": words.interval, **{kind: share.accuracy for kind, share in kinds.items()}}
    if all("spans" in each for each in figures):
        spans = [each["spans"] for each in figures]
        counts = SpanCounts(*(sum(each[key] for each in spans) for key in ("spans", "predicted", "right")))
        found["spans"] = counts.document()
    return found
