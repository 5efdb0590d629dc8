"""How far a sweep is: the state of each cell, the best settings so far, and the time that is left."""

import math
import statistics
import time
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from ..figure_names import rank, with_infinity
from ..listing import entry_of, is_run
from .claims import PATIENCE_SECONDS, Watch, folder_of, heartbeat_of
from .folder import SweepFolder
from .space import SEED

State = Literal["done", "failed", "pruned", "running", "stopped", "waiting"]


class CellStatus(NamedTuple):
    """A cell.

    Attributes:
        number: from 1.
        state: `done`, `failed` or `pruned` when it has ended; `running`: a worker trains it; `stopped`: its worker has
            ended, and another one will take it over; `waiting`: no worker has begun it.
        settings: what the sweep varies; None where optuna has not chosen yet.
        valid: the figures of the best validation.
        test: the figures of the test text.
        epochs: the epochs that have begun.
        seconds: the time of training.
        worker: who trains it or has ended it.
        error: why it has failed.
        unit: the setting `data.unit` of the sweep; None for a tagger.
    """

    number: int
    state: State
    settings: dict[str, Any] | None
    valid: dict[str, Any]
    test: dict[str, Any]
    epochs: int | None
    seconds: float
    worker: str
    error: str
    unit: str | None


class Best(NamedTuple):
    """Settings with the figures of all cells that have them: one for each seed.

    Attributes:
        settings: what the sweep varies, without the seed.
        cells: the cells that are done.
        rank: the mean of their deciding figure, lower for better ones.
    """

    settings: dict[str, Any]
    cells: list[CellStatus]
    rank: float


def status_of(folder: SweepFolder) -> list[CellStatus]:
    """The state of each cell, by files alone.

    Args:
        folder: the folder of the sweep.
    """
    claimed, watch = folder.generations(), Watch()
    return [_status(folder, number, claimed.get(number), watch) for number in range(1, folder.sweep.number + 1)]


def _status(folder: SweepFolder, number: int, generation: int | None, watch: Watch) -> CellStatus:
    settings = folder.settings(number)
    result = folder.result(number)
    if result is not None:
        figures = (with_infinity(result.valid), with_infinity(result.test))
        about = (*figures, None, result.seconds, result.worker, result.error, folder.sweep.unit)
        return CellStatus(number, result.state, settings, *about)
    if generation is None:
        return CellStatus(number, "waiting", settings, {}, {}, None, 0.0, "", "", folder.sweep.unit)
    claim = folder_of(folder.claims, number, generation)
    beat = heartbeat_of(claim)
    if watch.sees_lock(beat) or beat.get("ended"):
        alive = watch.is_alive(claim)
    else:
        # of another machine: who looks once can only ask how old the heartbeat is
        alive = claim.is_dir() and time.time() - _changed(claim) < PATIENCE_SECONDS
    worker = f"process {beat.get('pid')} on {str(beat.get('machine')).partition(' ')[0]}" if beat else ""
    run = folder.run(number)
    entry = entry_of(run) if is_run(run) else None
    valid, epochs, seconds = (entry.valid, entry.epochs, entry.seconds or 0.0) if entry else ({}, None, 0.0)
    state: State = "running" if alive else "stopped"
    return CellStatus(number, state, settings, valid, {}, epochs, seconds, worker, "", folder.sweep.unit)


def _changed(claim: Any) -> float:
    try:
        return float((claim / "heartbeat.json").stat().st_mtime)
    except OSError:
        return float(claim.stat().st_mtime)


def ranking(cells: Sequence[CellStatus]) -> list[Best]:
    """The settings of the cells that are done, the best first; those with the most seeds come before others.

    Args:
        cells: the cells.
    """
    groups: dict[str, tuple[dict[str, Any], list[CellStatus]]] = {}
    for cell in cells:
        if cell.state == "done" and cell.settings is not None and math.isfinite(rank(cell.valid, cell.unit)):
            settings = {name: value for name, value in cell.settings.items() if name != SEED}
            groups.setdefault(repr(settings), (settings, []))[1].append(cell)
    found = [
        Best(settings, each, statistics.fmean(rank(cell.valid, cell.unit) for cell in each))
        for settings, each in groups.values()
    ]
    return sorted(found, key=lambda best: (-len(best.cells), best.rank))


def has_diverged(cell: CellStatus) -> bool:
    """Whether the training of a cell that is done has diverged, so that its perplexity is infinite.

    Args:
        cell: the cell.
    """
    return cell.state == "done" and cell.valid.get("perplexity") == math.inf


def seconds_left(cells: Sequence[CellStatus]) -> float | None:
    """The time until the last cell ends, as far as those that are done tell; None before one is, or without a worker.

    Args:
        cells: the cells.
    """
    done = [cell.seconds for cell in cells if cell.state == "done"]
    running = [cell.seconds for cell in cells if cell.state == "running"]
    if not done or not running:
        return None
    mean = statistics.fmean(done)
    rest = sum(cell.state in ("waiting", "stopped") for cell in cells)
    return (mean * rest + sum(max(mean - seconds, 0.0) for seconds in running)) / len(running)
