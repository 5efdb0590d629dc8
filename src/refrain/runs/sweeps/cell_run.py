"""Trains a claimed cell, and writes down how it has ended."""

import os
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from refrain.errors import CheckpointError, DataError, MachineError, UnwritableError, UserError
from refrain.progress import Reporter
from refrain.storage.checkpoint_manifest import UnreadableError
from refrain.storage.locks import InUseError
from refrain.storage.run_layout import step_of, steps_in
from refrain.training import Position
from refrain.training.progress import LossText, Progress

from ..figure_names import deciding, text_of_figure
from ..listing import entry_of
from ..training import train
from .claims import BEAT_SECONDS, PATIENCE_SECONDS, Claim, folder_of, heartbeat_of
from .folder import Ended, Result, SweepFolder
from .labels import label_of
from .plan import Cell

FATAL_CLAIMS = 3
"""A cell fails when as many workers in a row were killed in it without having saved a checkpoint."""
IN_USE_SECONDS = 5.0
"""The time after which a worker looks again whether the run of its cell is still locked."""
_MAYBE_OF_MACHINE = (MachineError, DataError, UnreadableError, UnwritableError)


class TakenOver(BaseException):
    """Raised in a worker whose cell another one has taken over, at once: what it would save is the other's to write."""


class Pruned(BaseException):
    """Raised in the first window after an epoch that has decided that its cell is pruned; the epoch is saved."""


class Search(Protocol):
    """What chooses the settings of cells, and which of them are pruned, where the plan does not say."""

    def choose(self, number: int) -> None:
        """Choose the settings of a cell, and store them in the folder of the sweep."""
        ...

    def prunes(self, number: int, record: dict[str, Any]) -> bool:
        """Whether a cell is pruned, by the record of a validation."""
        ...

    def tell(self, number: int, state: Ended, valid: dict[str, Any]) -> None:
        """Take note of the end of a cell."""
        ...


class Options(NamedTuple):
    """How a worker works.

    Attributes:
        progress: makes the progress report of each cell.
        log: called with a line of text about a cell.
        command: the command line, which each run records.
        search: chooses the settings; None where the plan has them.
        patience: the seconds after which the heartbeat of a worker on another machine has stopped.
        beat_seconds: the seconds between heartbeats.
    """

    progress: Callable[[], Progress]
    log: Callable[[str], None]
    command: str = ""
    search: Search | None = None
    patience: float = PATIENCE_SECONDS
    beat_seconds: float = BEAT_SECONDS


def step_of_run(run: Path) -> int:
    """The step of the newest checkpoint of a run; 0 without one."""
    found = steps_in(run / "checkpoints")
    return step_of(found[-1]) if found else 0


def end_cell(folder: SweepFolder, held: Claim, options: Options) -> Ended | None:
    """Train a claimed cell to its end, and write how it has ended.

    Args:
        folder: the folder of the sweep.
        held: the claim, in the body of its `held`.
        options: how the worker works.

    Returns:
        How it has ended; None where that was written, or the cell was taken over, elsewhere.

    Raises:
        Interrupted: when a signal has stopped the run; a checkpoint has been saved.
        Exception: an error that may be of this machine, and not of the cell. Nothing is written.
    """
    number = held.number
    if number in folder.ended():
        return None
    if _is_fatal(folder, held):
        error = f"{FATAL_CLAIMS} workers in a row were killed in this cell, and none had saved another checkpoint"
        return finish(folder, held, options, "failed", error)
    if folder.sweep.space.method == "optuna":
        assert options.search is not None
        options.search.choose(number)
    return _trained(folder, held, options)


def _trained(folder: SweepFolder, held: Claim, options: Options) -> Ended | None:
    begun, number = time.monotonic(), held.number
    again = f", taken over by claim {held.generation}" if held.generation > 1 else ""
    settings = folder.settings(number)
    assert settings is not None
    options.log(f"cell {number} of {folder.sweep.number}: {label_of(settings)}{again}")
    state: Ended = "done"
    error = ""
    try:
        # settings that optuna has chosen may be refused together
        cell = folder.cell(number)
        assert cell is not None
        _train(folder, held, cell, options)
    except TakenOver:
        options.log(f"cell {number}: another worker has taken it over")
        return None
    except Pruned:
        state = "pruned"
    except Exception as failure:
        if not _is_of_cell(failure):
            raise
        state, error = "failed", text_of_error(folder, held, failure)
    return finish(folder, held, options, state, error, begun)


def _train(folder: SweepFolder, held: Claim, cell: Cell, options: Options) -> None:
    """Train the run of a cell. Another process may still have its lock, as a frozen worker: then it is waited for."""
    text = folder.sweep.recipe_text(cell.experiment)
    more: Any = {"resume": "auto", "recipe_text": text, "command": options.command}
    said = False
    while True:
        report = _CellProgress(options.progress(), held, options.search, cell.experiment.training.epochs)
        try:
            train(cell.experiment, folder.run(cell.number), progress=report, **more)
            return
        except InUseError as failure:
            if not said:
                options.log(f"cell {cell.number}: {failure}")
            said = True
        if held.lost.wait(IN_USE_SECONDS):
            raise TakenOver


def _is_of_cell(failure: Exception) -> bool:
    """Whether an error is of the settings of a cell or of its run; others may be of the machine, its disk or a text."""
    if isinstance(failure, MemoryError) or re.search(r"allocate memory|out of memory", str(failure)):
        return True
    return isinstance(failure, UserError | FloatingPointError) and not isinstance(failure, _MAYBE_OF_MACHINE)


def text_of_error(folder: SweepFolder, held: Claim, failure: Exception) -> str:
    """An error for the result of a cell; where its run is damaged, with the way to train it anew.

    Args:
        folder: the folder of the sweep.
        held: the claim.
        failure: the error.
    """
    known = isinstance(failure, UserError | FloatingPointError)
    text = str(failure) if known else f"{type(failure).__name__}: {failure}"
    if isinstance(failure, UserError):
        text = "; ".join(map(str, failure.mistakes))
    if isinstance(failure, CheckpointError) and not isinstance(failure, _MAYBE_OF_MACHINE):
        result = folder.result_path(held.number)
        text += f"; to train the cell anew, remove {folder.run(held.number)} and {result}"
    return text


def finish(
    folder: SweepFolder, held: Claim, options: Options, state: Ended, error: str, begun: float | None = None
) -> Ended | None:
    """Write how a cell has ended.

    Args:
        folder: the folder of the sweep.
        held: the claim, in the body of its `held`.
        options: how the worker works.
        state: how the cell has ended.
        error: why it has failed.
        begun: when it was begun, by the monotonic clock, for a run that does not know how long it has trained.

    Returns:
        The state; None where the cell was taken over or has a result already.
    """
    run = folder.run(held.number)
    entry = entry_of(run) if run.is_dir() else None
    valid, test = (entry.valid, entry.test) if entry else ({}, {})
    if not held.check():
        return None
    if options.search is not None:
        options.search.tell(held.number, state, valid)
    seconds = 0.0 if begun is None else time.monotonic() - begun
    if entry and entry.seconds is not None:
        seconds = entry.seconds
    written = folder.write_result(
        Result(
            cell=held.number,
            state=state,
            valid=valid,
            test=test,
            seconds=float(seconds),
            worker=f"process {os.getpid()} on {socket.gethostname()}",
            finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            error=error,
        )
    )
    name = deciding(valid, folder.sweep.unit)
    figure = "" if name is None else f", {name} {text_of_figure(name, valid[name])}"
    options.log(f"cell {held.number}: {state}{figure}{f': {error}' if error else ''}")
    return state if written else None


def _is_fatal(folder: SweepFolder, held: Claim) -> bool:
    """Whether the last workers of a cell were all killed before they had saved another checkpoint."""
    first = held.generation - FATAL_CLAIMS
    beats = [heartbeat_of(folder_of(folder.claims, held.number, first + place)) for place in range(FATAL_CLAIMS)]
    killed = first > 0 and not any(beat.get("ended") for beat in beats)
    return killed and {beat.get("step") for beat in beats} == {step_of_run(folder.run(held.number))}


class _CellProgress:
    """Passes on the progress of a cell, and stops its run: after a checkpoint if pruned, and at once if it is lost.

    The run is not stopped by a signal of its own, which would be taken for a second one of the user.
    """

    def __init__(self, inner: Progress, held: Claim, search: Search | None, epochs: int) -> None:
        self._inner, self._held, self._search, self._epochs = inner, held, search, epochs
        self._pruned = False

    @property
    def reports(self) -> Reporter:
        return self._inner.reports

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inner.__exit__(error_type, error, trace)

    def begin(self, loss_text: LossText) -> None:
        self._inner.begin(loss_text)

    def log(self, line: str) -> None:
        self._inner.log(line)

    def window(self, position: Position, windows: int, epochs: int) -> None:
        self._inner.window(position, windows, epochs)
        self._check()
        if self._pruned:
            raise Pruned

    def validated(self, record: dict[str, Any]) -> None:
        self._inner.validated(record)
        self._check()
        last = record["epoch"] == self._epochs
        if self._search is not None and record["epoch_ended"] and not last:
            self._pruned = self._search.prunes(self._held.number, record)

    def _check(self) -> None:
        if self._held.lost.is_set():
            raise TakenOver
