"""The runs that train: how far each of them is, from what it writes into its folder, on this machine or another."""

import contextlib
import time
from pathlib import Path
from typing import Any, NamedTuple

from refrain.storage.plain_json import loads
from refrain.storage.regular_files import read_regular

from .figure_names import comparable, deciding, with_infinity
from .listing import METRICS_LIMIT, RunEntry, entry_of, find_runs, finite_number


class LiveRun(NamedTuple):
    """A run and how far it is.

    Attributes:
        entry: its state, settings and figures.
        epoch: the current epoch, counted from 1; 0 before the first line of metrics.
        epochs: the number of epochs; None where it is not known.
        share: the share of the epoch that is done, from 0 to 1; None where it is not known.
        train: the figures of the windows before the last line of metrics: nats per token, perplexity, and more.
        tokens_per_second: the speed of the last windows; None where it is not known.
        epoch_seconds_left: the time until the end of the epoch, without its validation; None unless the run trains.
        seconds_left: the time until the end of the run, without validations; None unless the run trains.
        curve: the deciding figure of each validation, in order.
    """

    entry: RunEntry
    epoch: int
    epochs: int | None
    share: float | None
    train: dict[str, Any]
    tokens_per_second: float | None
    epoch_seconds_left: float | None
    seconds_left: float | None
    curve: list[float]


def live_runs(folder: Path, *, recent_seconds: float) -> list[LiveRun]:
    """The runs at a path or below it that train, and those that have changed lately, sorted by name.

    Args:
        folder: the folder, which may be a run itself.
        recent_seconds: a run that does not train is left out if it has not changed in so many seconds.
    """
    entries = (entry_of(run) for run in find_runs(folder))
    now = time.time()
    return [
        live_run(entry, now) for entry in entries if entry.state == "running" or now - entry.changed <= recent_seconds
    ]


def live_run(entry: RunEntry, now: float) -> LiveRun:
    """How far a run is.

    Args:
        entry: the run.
        now: the time, in seconds since 1970.
    """
    lines = _lines(entry.path)
    trained = with_infinity(next((line for line in reversed(lines) if line.get("event") == "train"), {}))
    # one of an earlier version has neither the number of windows nor that of steps
    names = ("step", "last_step", "window", "windows", "wall_seconds")
    step, last_step, window, windows, seconds = (finite_number(trained.get(name)) for name in names)
    seconds_left = epoch_seconds_left = None
    if entry.state == "running" and step and windows and None not in (last_step, window, seconds):
        since = max(now - entry.changed, 0.0)
        seconds_left = max(seconds / step * (last_step - step) - since, 0.0)
        epoch_seconds_left = min(max(seconds / step * (windows - window) - since, 0.0), seconds_left)
    training = entry.settings.get("training")
    epochs = training.get("epochs") if isinstance(training, dict) else None
    return LiveRun(
        entry=entry,
        epoch=int(finite_number(trained.get("epoch")) or entry.epochs),
        epochs=epochs if isinstance(epochs, int) else None,
        share=window / windows if window is not None and windows else None,
        train=trained,
        tokens_per_second=finite_number(trained.get("tokens_per_second")),
        epoch_seconds_left=epoch_seconds_left,
        seconds_left=seconds_left,
        curve=_curve(lines, training.get("best_by") if isinstance(training, dict) else None, entry.unit),
    )


def _lines(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics; what a crash has cut is left out, as when resuming."""
    found = []
    with contextlib.suppress(OSError):
        for line in read_regular(run / "metrics.jsonl", limit=METRICS_LIMIT, follow_links=False).split(b"\n")[:-1]:
            with contextlib.suppress(ValueError):
                record = loads(line)
                found += [record] if isinstance(record, dict) else []
    return found


def _curve(lines: list[dict[str, Any]], best_by: Any, unit: Any) -> list[float]:
    validations = [comparable(line, best_by) for line in lines if line.get("event") == "valid"]
    name = deciding(validations[-1], unit) if validations else None
    return [float(line[name]) for line in validations if name and finite_number(line.get(name)) is not None]
