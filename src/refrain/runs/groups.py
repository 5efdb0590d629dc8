"""Compares runs: the settings in which they differ, and their figures, with those of several seeds together."""

import contextlib
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from refrain.config import AnyExperiment
from refrain.config.schema import settings_of
from refrain.errors import CheckpointError
from refrain.storage.run_folder import RunFolder

from .config_document import experiment_from
from .figure_names import deciding, order, rank
from .listing import RunEntry, entry_of, find_runs

SEED = "training.seed"


class Compared(NamedTuple):
    """A run that is compared.

    Attributes:
        entry: its state and figures.
        settings: its settings by dotted name, and what it started from or was compressed from.
        experiment: its settings.
    """

    entry: RunEntry
    settings: dict[str, Any]
    experiment: AnyExperiment


class Group(NamedTuple):
    """Runs whose settings are the same but for the seed.

    Attributes:
        runs: the runs, in the order of their seeds.
    """

    runs: tuple[Compared, ...]

    @property
    def name(self) -> str:
        """The first run folder, and the number of the others."""
        more = f" +{len(self.runs) - 1}" if len(self.runs) > 1 else ""
        return f"{self.runs[0].entry.path}{more}"

    @property
    def seeds(self) -> list[int]:
        """The seed of each run."""
        return [run.settings[SEED] for run in self.runs]

    def figure(self, split: str) -> dict[str, Any]:
        """The deciding figure of a split: its `name`, and `mean`, `std` and `count` over the runs that have it.

        Args:
            split: `valid` or `test`.
        """
        found = [figures for run in self.runs if (figures := getattr(run.entry, split))]
        names = {deciding(figures, self.runs[0].entry.unit) for figures in found}
        if len(names) != 1 or None in names:
            return {}
        (name,) = names
        assert name is not None
        return {"name": name, **spread([figures[name] for figures in found])}


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean and standard deviation of a sample, with n - 1 in the denominator.

    Args:
        values: at least one; the deviation of one value is None.
    """
    deviation = stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else None
    return {"mean": fmean(values), "std": deviation, "count": len(values)}


def compared_run(path: Path) -> Compared:
    """Read a run that is to be compared.

    Args:
        path: the run folder.

    Raises:
        CheckpointError: when there is none, or it is damaged.
    """
    run = RunFolder(path)
    experiment = experiment_from(run.read_json("config.json"), path)
    entry = entry_of(path)
    if entry.state == "damaged":
        raise CheckpointError(f"{path}: is damaged: {entry.note}")
    settings = {**_settings(experiment), **_start(run), **entry.compressed}
    return Compared(entry, settings, experiment)


def _settings(experiment: AnyExperiment) -> dict[str, Any]:
    settings = settings_of(experiment)
    return {("recipe" if name == "name" else name): value for name, value in settings.items()}


def _start(run: RunFolder) -> dict[str, str]:
    """The run from whose weights another one started; nothing where there is none, or the manifest cannot be read."""
    with contextlib.suppress(CheckpointError):
        manifest = run.read_json("manifest.json")
        start = manifest.get("start") if isinstance(manifest, dict) else None
        if isinstance(start, dict) and isinstance(start.get("run"), str):
            return {"started_from": start["run"] + ", compressed" * (start.get("compressed") is True)}
    return {}


def runs_at(paths: Iterable[Path]) -> list[Path]:
    """The run folders that paths name, each once: runs, and folders with runs below them.

    Args:
        paths: the paths.

    Raises:
        CheckpointError: when there are no runs at a path.
    """
    found: dict[str, Path] = {}
    for path in paths:
        inside = list(find_runs(path))
        if not inside:
            raise CheckpointError(f"{path}: no run is here, nor below; give run folders, or a folder of runs")
        for run in inside:
            found.setdefault(os.path.realpath(run), run)
    return list(found.values())


def copies_among(runs: Iterable[Compared]) -> list[tuple[Compared, Compared]]:
    """Runs with the settings, the seed and the figures of an earlier one: its copies, which are no further seeds.

    Args:
        runs: the runs.

    Returns:
        Each copy, and the run that it is a copy of.
    """
    first: dict[str, Compared] = {}
    found = []
    for run in runs:
        key = repr([run.entry.parameters, run.settings, run.entry.valid, run.entry.test])
        if (run.entry.valid or run.entry.test) and key in first:
            found.append((run, first[key]))
        else:
            first[key] = run
    return found


def grouped(runs: Iterable[Compared]) -> list[Group]:
    """Bring together the runs that differ in the seed alone. A compressed or unfinished run is by itself.

    Those whose figures cannot be compared are apart, see `order`; of the others, the best validation comes first.

    Args:
        runs: the runs.
    """
    groups: dict[str, list[Compared]] = {}
    for run in runs:
        settings = {name: value for name, value in run.settings.items() if name != SEED}
        alone = bool(run.entry.compressed) or run.entry.state != "finished"
        key = repr([run.entry.parameters, settings, run.entry.path if alone else None])
        groups.setdefault(key, []).append(run)
    found = [Group(tuple(sorted(each, key=lambda run: run.settings[SEED]))) for each in groups.values()]
    return sorted(found, key=_order)


def scale_of(group: Group) -> str:
    """The figure by which a group is sorted, in words, such as `perplexity (word)`; empty without one."""
    missing, name, unit, _ = _order(group)
    return "" if missing else name + f" ({unit})" * (name == "perplexity")


def _order(group: Group) -> tuple[bool, str, str, float]:
    with_figures = [run.entry.valid for run in group.runs if run.entry.valid]
    unit = group.runs[0].settings.get("data.unit")
    if not with_figures:
        return order({}, unit)
    missing, name, scale, _ = order(with_figures[0], unit)
    return missing, name, scale, fmean(rank(figures, unit) for figures in with_figures)


def differing(groups: Sequence[Group]) -> list[str]:
    """The names of the settings that are not the same in all groups, in the order of their definition.

    Args:
        groups: the groups.
    """
    every: list[Mapping[str, Any]] = [group.runs[0].settings for group in groups]
    names = dict.fromkeys(name for settings in every for name in settings)
    missing = object()
    return [
        name
        for name in names
        if name != SEED and any(one.get(name, missing) != every[0].get(name, missing) for one in every)
    ]
