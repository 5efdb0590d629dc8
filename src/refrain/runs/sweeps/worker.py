"""A worker of a sweep: claims one cell after another, trains it, and writes down how it has ended."""

import contextlib
import socket
import time
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple, Self

from refrain.errors import CheckpointError, UserError
from refrain.training import Interrupted

from .cell_run import Options, end_cell, finish, step_of_run, text_of_error
from .claims import Claim, Watch, claim, folder_of, heartbeat_of
from .folder import SweepFolder

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
MOST_DOUBTFUL = 3
"""A worker stops when as many cells in a row have ended with an error that may be of its machine."""


def work(folder: SweepFolder, options: Options) -> int:
    """Train cells until each has ended. A worker without a cell waits, and takes over those of workers that died.

    Args:
        folder: the folder of the sweep.
        options: how the worker works.

    Returns:
        The number of cells that this worker has ended.

    Raises:
        Interrupted: when a signal has stopped it; the cell has a checkpoint and is free for another worker.
        UserError: when cells have ended with errors that may be of this machine; they are free for other workers.
        CheckpointError: when the folder of the sweep cannot be written.
    """
    started, pause = time.monotonic(), FIRST_PAUSE
    watch = Watch(options.patience)
    minutes = folder.sweep.space.minutes
    with _Cells(folder, options) as cells:
        while len(ended := folder.ended()) < folder.sweep.number:
            if minutes is not None and time.monotonic() - started > 60 * minutes:
                options.log(f"{minutes:g} minutes are over; no other cell is begun")
                break
            held = next(_free(folder, ended, watch, options), None)
            if held is not None:
                pause = FIRST_PAUSE
                cells.train(held)
            elif not cells.settle():
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        cells.settle()
        return cells.count


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
        UserError: as `work`.
    """
    folder.check_index(number)
    watch, first = Watch(options.patience), None
    while number not in folder.ended():
        if (held := _claimed(folder, number, watch, options)) is not None:
            with _Cells(folder, options) as cells:
                cells.train(held)
                cells.settle()
                return bool(cells.count)
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
    about = {"cell": number, "step": step_of_run(folder.run(number))}
    try:
        found = claim(folder.claims, number, latest + 1, about, beat_seconds=options.beat_seconds)
    except OSError as error:
        raise CheckpointError(f"{folder.claims}: cannot be written ({error.strerror}); make it writable") from None
    return found


class _Doubtful(NamedTuple):
    """A cell that has ended with an error which may be of this machine; its claim is kept until another cell tells."""

    held: Claim
    error: Exception
    kept: contextlib.ExitStack


class _Cells:
    """The cells of a worker, and those of which it does not know yet whether they or the machine are at fault.

    A cell that goes well shows that the machine is not: the doubtful cells before it have failed. When `MOST_DOUBTFUL`
    cells in a row are doubtful, or no other cell is left to tell and none has gone well before, the worker stops, and
    other workers can take these cells.

    Attributes:
        count: the number of cells that were ended.
    """

    def __init__(self, folder: SweepFolder, options: Options) -> None:
        self._folder, self._options = folder, options
        self._doubtful: list[_Doubtful] = []
        self._one_went_well = False
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._doubtful:
            self._doubtful.pop().kept.close()

    def train(self, held: Claim) -> None:
        """Train a cell to its end; raises as `work` does."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(held.held())
            try:
                state = end_cell(self._folder, held, self._options)
            except Interrupted as stopped:
                # other cells may be left, and what the sweep knows of this one is written by a worker
                raise stopped.resumed_by(self._options.command) from None
            except Exception as error:
                if not isinstance(error, UserError | OSError):
                    traceback.print_exc()
                self._options.log(f"cell {held.number}: {text_of_error(self._folder, held, error)}")
                self._doubtful.append(_Doubtful(held, error, stack.pop_all()))
                state = None
        self.count += state is not None
        if state in ("done", "pruned"):
            self._one_went_well = True
            self.settle()
        elif len(self._doubtful) >= MOST_DOUBTFUL:
            raise self._stopped()

    def settle(self) -> bool:
        """Decide about the doubtful cells, where no other cell can tell any more; False where there are none."""
        if self._doubtful and not (self._one_went_well or self._trained_here()):
            raise self._stopped()
        found = bool(self._doubtful)
        while self._doubtful:
            held, error, kept = self._doubtful.pop(0)
            with kept:
                text = text_of_error(self._folder, held, error)
                self.count += finish(self._folder, held, self._options, "failed", text) is not None
        return found

    def _trained_here(self) -> bool:
        """Whether a worker of this machine has trained a cell of the sweep before."""
        results = map(self._folder.result, self._folder.ended())
        here = f" on {socket.gethostname()}"
        return any(each.state in ("done", "pruned") and each.worker.endswith(here) for each in results if each)

    def _stopped(self) -> UserError:
        """The error that ends this worker, with the status of the last error."""
        held, error, _ = self._doubtful[-1]
        text = text_of_error(self._folder, held, error).rstrip(".")
        numbers = ", ".join(str(each.held.number) for each in self._doubtful)
        what = f"cells {numbers} are" if len(self._doubtful) > 1 else f"cell {numbers} is"
        found = UserError(
            f"{self._folder.path}: {text}; this may be of {socket.gethostname()} and not of the cell, so this worker "
            f"stops, and {what} left to others; repair the cause, and start the same command again"
        )
        found.exit_status = getattr(error, "exit_status", CheckpointError.exit_status)
        return found
