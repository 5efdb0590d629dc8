"""The summary of the runs of several seeds or folds: mean and standard deviation of their figures."""

import math
import statistics
from pathlib import Path
from typing import Any

from refrain.assembly.backend import rounds_in

from .folds import pooled

FIGURES = ("perplexity", "nats_per_token", "bits_per_byte", "accuracy", "span_f1")


def summarise_seeds(
    folder: Path, seeds: list[int], summaries: list[dict[str, Any]], *, folds: bool = False
) -> dict[str, Any]:
    """Summarise several runs.

    Args:
        folder: the folder of the runs.
        seeds: the seed of each run, or its fold.
        summaries: the summary of each run.
        folds: whether they are the folds of a cross-validation, whose figures are also pooled.
    """
    first = summaries[0]
    summary: dict[str, Any] = {
        "run": str(folder),
        **{name: first[name] for name in ("task", "recipe", "corpus", "parameters") if name in first},
        "folds" if folds else "seeds": seeds,
        "runs": [
            {"fold" if folds else "seed": seed, "run": one["run"], "best_epoch": one["best_epoch"]}
            | {split: _figures(one[split]) for split in ("valid", "test")}
            for seed, one in zip(seeds, summaries, strict=True)
        ],
    }
    for split in ("valid", "test"):
        found = [_figures(one[split]) for one in summaries]
        summary[split] = {
            name: {
                "mean": statistics.fmean(values),
                # the standard deviation of a sample, with n - 1 in the denominator
                "std": statistics.stdev(values) if finite and len(values) > 1 else None,
            }
            for name in FIGURES
            if (values := [one[name] for one in found if name in one])
            for finite in [all(map(math.isfinite, values))]
        }
    if folds:
        summary["pooled"] = pooled([one["test"] for one in summaries])
    return summary


def mixes_precisions(summaries: list[dict[str, Any]]) -> bool:
    """Whether some runs were trained in bf16 and others were not.

    Args:
        summaries: the summary of each run.
    """
    # the summary of an earlier run can have been edited
    words = [one["backend"] if isinstance(one.get("backend"), dict) else {} for one in summaries]
    return len({rounds_in({name: str(word) for name, word in each.items()}) for each in words}) > 1


def _figures(figure: dict[str, Any] | None) -> dict[str, float]:
    if not figure:
        return {}
    spans = figure.get("spans")
    every = figure | ({"span_f1": spans.get("f1")} if isinstance(spans, dict) else {})
    return {name: every[name] for name in FIGURES if every.get(name) is not None}
