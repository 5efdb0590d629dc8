"""A worker of a sweep: claims one cell after another, trains it, and writes down how it has ended."""

import os
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from refrain.errors import CheckpointError, UserError
from refrain.progress import Reporter
from refrain.storage.locks import InUseError
from refrain.storage.run_layout import step_of, steps_in
from refrain.training import Position
from refrain.training.interrupt import Interrupted
from refrain.training.progress import LossText, Progress

from ..figure_names import deciding, text_of_figure
from ..listing import entry_of
from ..training import train
from .claims import BEAT_SECONDS, PATIENCE_SECONDS, Claim, Watch, claim, folder_of, heartbeat_of
from .folder import Ended, Result, SweepFolder
from .labels import label_of
from .plan import Cell

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
FATAL_CLAIMS = 3
"""A cell fails when as many workers in a row were killed in it without having saved a checkpoint."""


class TakenOver(BaseException):
    """Raised in a worker whose cell another one has taken over, at once: what it would save is the other's to write."""


class Search(Protocol):
    """What chooses the settings of cells, and which of them are pruned, where the plan does not say."""

    def choose(self, number: int) -> Cell:
        """The settings of a cell."""
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


def work(folder: SweepFolder, options: Options) -> int:
    """Train cells until each has ended. A worker without a cell waits, and takes over those of workers that died.

    Args:
        folder: the folder of the sweep.
        options: how the worker works.

    Returns:
        The number of cells that this worker has ended.

    Raises:
        Interrupted: when a signal has stopped it; the cell has a checkpoint and is free for another worker.
        CheckpointError: when a folder cannot be written, or the run of a cell is damaged.
    """
    started, pause, count = time.monotonic(), FIRST_PAUSE, 0
    watch = Watch(options.patience)
    minutes = folder.sweep.space.minutes
    while len(ended := folder.ended()) < folder.sweep.number:
        if minutes is not None and time.monotonic() - started > 60 * minutes:
            options.log(f"{minutes:g} minutes are over; no other cell is begun")
            break
        held = next(_free(folder, ended, watch, options), None)
        if held is None:
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            continue
        pause = FIRST_PAUSE
        count += _end(folder, held, options)
    return count


def work_on(folder: SweepFolder, number: int, options: Options) -> bool:
    """Train one cell, as the cell of an array of jobs; one that has ended already is left as it is.

    Args:
        folder: the folder of the sweep.
        number: the number of the cell.
        options: how the worker works.

    Returns:
        Whether the cell was ended by this call.

    Raises:
        CheckpointError: when another worker trains it.
        Interrupted: as `work`.
    """
    folder.cell(number)
    watch, first = Watch(options.patience), None
    while number not in folder.ended():
        if (held := _claimed(folder, number, watch, options)) is not None:
            return _end(folder, held, options)
        beat = heartbeat_of(folder_of(folder.claims, number, folder.generations().get(number, 1)))
        # a worker of another machine is alive if its heartbeat changes
        first = beat.get("beat") if first is None else first
        if watch.sees_lock(beat) or (first is not None and beat.get("beat") != first):
            raise CheckpointError(
                f"{folder.run(number)}: cell {number} is being trained by process {beat.get('pid')} on "
                f"{str(beat.get('machine')).partition(' ')[0]}; wait for it"
            )
        time.sleep(FIRST_PAUSE)
    options.log(f"cell {number} has ended already; nothing is trained")
    return False


def _free(folder: SweepFolder, ended: set[int], watch: Watch, options: Options) -> Iterator[Claim]:
    """Claim cells that have not ended and that no living worker trains."""
    claimed = folder.generations()
    numbers = [number for number in range(1, folder.sweep.number + 1) if number not in ended]
    # those that were begun first
    for number in sorted(numbers, key=lambda number: (number not in claimed, number)):
        found = _claimed(folder, number, watch, options, claimed.get(number, 0))
        if found is not None:
            yield found


def _claimed(
    folder: SweepFolder, number: int, watch: Watch, options: Options, latest: int | None = None
) -> Claim | None:
    if latest is None:
        latest = folder.generations().get(number, 0)
    if latest and watch.is_alive(folder_of(folder.claims, number, latest)):
        return None
    about = {"cell": number, "step": _step(folder.run(number))}
    try:
        found = claim(folder.claims, number, latest + 1, about, beat_seconds=options.beat_seconds)
    except OSError as error:
        raise CheckpointError(f"{folder.claims}: cannot be written ({error.strerror}); make it writable") from None
    return found


def _step(run: Path) -> int:
    """The step of the newest checkpoint of a run; 0 without one."""
    found = steps_in(run / "checkpoints")
    return step_of(found[-1]) if found else 0


def _end(folder: SweepFolder, held: Claim, options: Options) -> bool:
    """Train a claimed cell to its end, and write how it has ended; False if that was done or taken over elsewhere."""
    number = held.number
    with held.held():
        if number in folder.ended():
            return False
        if _is_fatal(folder, held):
            error = f"{FATAL_CLAIMS} workers in a row were killed in this cell, and none had saved another checkpoint"
            return _finish(folder, held, options, "failed", error, time.monotonic())
        cell = folder.cell(number)
        if cell is None:
            assert options.search is not None
            cell = options.search.choose(number)
        return _trained(folder, held, cell, options)


def _trained(folder: SweepFolder, held: Claim, cell: Cell, options: Options) -> bool:
    begun = time.monotonic()
    again = f", taken over by claim {held.generation}" if held.generation > 1 else ""
    options.log(f"cell {cell.number} of {folder.sweep.number}: {label_of(cell.settings)}{again}")
    report = _CellProgress(options.progress(), held, options.search, cell.experiment.training.epochs)
    state: Ended = "done"
    error = ""
    try:
        text = folder.sweep.recipe_text(cell.experiment)
        more: Any = {"resume": "auto", "recipe_text": text, "command": options.command}
        train(cell.experiment, folder.run(cell.number), progress=report, **more)
    except TakenOver:
        options.log(f"cell {cell.number}: another worker has taken it over")
        return False
    except Interrupted:
        if not report.pruned:
            raise
        state = "pruned"
    except InUseError as failure:
        # the worker before was frozen, or cut off, and still has the lock of the run; it stops when it goes on
        options.log(f"cell {cell.number}: {failure}")
        time.sleep(LONGEST_PAUSE)
        return False
    except (CheckpointError, OSError):
        # of this machine or its disk, and not of the cell
        raise
    except (UserError, FloatingPointError) as failure:
        state, error = "failed", str(failure)
    except Exception as failure:
        traceback.print_exc()
        state, error = "failed", f"{type(failure).__name__}: {failure}"
    return _finish(folder, held, options, state, error, begun)


def _finish(folder: SweepFolder, held: Claim, options: Options, state: Ended, error: str, begun: float) -> bool:
    run = folder.run(held.number)
    entry = entry_of(run) if run.is_dir() else None
    valid, test = (entry.valid, entry.test) if entry else ({}, {})
    if not held.check():
        return False
    if options.search is not None:
        options.search.tell(held.number, state, valid)
    seconds = entry.seconds if entry and entry.seconds is not None else time.monotonic() - begun
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
    name = deciding(valid)
    figure = "" if name is None else f", {name} {text_of_figure(name, valid[name])}"
    options.log(f"cell {held.number}: {state}{figure}{f': {error}' if error else ''}")
    return written


def _is_fatal(folder: SweepFolder, held: Claim) -> bool:
    """Whether the last workers of a cell were all killed before they had saved another checkpoint."""
    first = held.generation - FATAL_CLAIMS
    beats = [heartbeat_of(folder_of(folder.claims, held.number, first + place)) for place in range(FATAL_CLAIMS)]
    killed = first > 0 and not any(beat.get("ended") for beat in beats)
    return killed and {beat.get("step") for beat in beats} == {_step(folder.run(held.number))}


class _CellProgress:
    """Passes on the progress of a cell, and stops its run: after a checkpoint if pruned, and at once if it is lost."""

    def __init__(self, inner: Progress, held: Claim, search: Search | None, epochs: int) -> None:
        self._inner, self._held, self._search, self._epochs = inner, held, search, epochs
        self.pruned = self._stopping = False

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
        # what a stopped run reports is not for the user of a sweep
        if not self._stopping:
            self._inner.log(line)

    def window(self, position: Position, windows: int, epochs: int) -> None:
        self._inner.window(position, windows, epochs)
        self._check()

    def validated(self, record: dict[str, Any]) -> None:
        self._inner.validated(record)
        self._check()
        last = record["epoch"] == self._epochs
        if self._search is not None and record["epoch_ended"] and not last and not self._stopping:
            self.pruned = self._search.prunes(self._held.number, record)
            if self.pruned:
                self._stopping = True
                signal.raise_signal(signal.SIGTERM)

    def _check(self) -> None:
        if self._held.lost.is_set():
            raise TakenOver
