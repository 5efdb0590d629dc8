"""A run from its current position to the end: epochs of windows, validation, metrics, samples, checkpoints."""

import contextlib
import math
import shlex
import time
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from refrain.data import Batches, Windows
from refrain.errors import CheckpointError, DivergedError, UserError, shortened
from refrain.storage.run_folder import RunFolder

from .ending import Ending, rate_factor
from .interrupt import Interrupt, Interrupted
from .loop import NonFiniteError, Tally, train_round
from .metrics import Metrics
from .own_methods import MethodError
from .planned_end import announced
from .progress import Progress
from .resume import capture, check_finite, weights_of
from .task import Best, Position, Task, Validation

# the length of a sample in the log; the file has the whole text
SAMPLE_CHARACTERS = 200


class Fit:
    """Trains a task in a run folder.

    Args:
        task: the model, the data and the settings of the training.
        run: the run folder; the caller must hold its lock.
        documents: the plain data of each checkpoint besides weights and state, by file stem: config and vocabulary.
        metrics: writes the figures.
        progress: reports the progress to the user.
        interrupt: checked before each window and validation for a signal to stop.
    """

    def __init__(
        self,
        task: Task,
        run: RunFolder,
        documents: dict[str, Any],
        metrics: Metrics,
        progress: Progress,
        interrupt: Interrupt,
    ) -> None:
        self.task = task
        self.run = run
        self.documents = documents
        self.metrics = metrics
        self.progress = progress
        self.interrupt = interrupt
        self.ending = Ending(task)

    def __call__(self, position: Position, state: Any) -> Position:
        """Train until the last epoch.

        Args:
            position: the position in the run; changed in place.
            state: the carried recurrent state, or None between epochs.

        Returns:
            The position at the end of training.

        Raises:
            Interrupted: when a signal was received; a checkpoint has been saved.
            DivergedError: when the loss is not finite.
            UserError: when a user's method fails; its exception is the cause.
        """
        try:
            return self._train(position, state)
        except (NonFiniteError, FloatingPointError) as error:
            remedy = "start again with a lower training.learning_rate or training.max_norm"
            if "network" in self.documents.get("config", {}):
                remedy += ", or test the layers of your network with refrain.testing"
            if self.task.methods.own:
                remedy += f", or check the methods {', '.join(self.task.methods.own)}"
            raise DivergedError(self._advice(position, str(error), remedy)) from None
        except MethodError as error:
            saved = any(self.run.checkpoints.glob("step-*"))
            remedy = f"fix the method, then {self._resume() if saved else 'start again with force=True'}"
            raise UserError(self._advice(position, str(error), remedy)) from error.__cause__

    def _train(self, position: Position, state: Any) -> Position:
        # write a checkpoint before the first step, so that a full or read-only disk is found at once
        saved = time.monotonic() if position.step else self.save(position, state)
        self.ending.begin(position)
        while position.epoch < self.task.epochs and not position.stopped:
            windows = self.task.windows(position.epoch)
            if state is None:
                state = self.task.initial_state()
            while position.window < len(windows) and not self.ending.is_reached(position):
                deadline = saved + 60 * self.task.checkpoint_minutes
                before = position.window
                state = self._round(position, windows, state, min(deadline, self.ending.next_review))
                # a signal may arrive before the first window of a round
                improved = position.window > before and self._within_epoch(position, windows)
                planned = self._review(position, windows)
                # read the signal once, so that the checkpoint and the exit status agree
                signal_number, late = self._asked(deadline)
                if signal_number or improved or planned or late:
                    saved = self.save(position, state)
                self._stop_if_asked(position, signal_number)
            self._end_epoch(position)
            position.stopped |= self.ending.is_reached(position)
            # a run may end within an epoch
            if position.window == len(windows):
                position.epoch += 1
                position.window = 0
                position.epoch_tally = Tally()
                state = state if self.task.carry_state else None
            signal_number, _ = self._asked(math.inf)
            saved = self.save(position, state)
            self._stop_if_asked(position, signal_number)
        # a signal may have come while the last checkpoint was written
        self._stop_if_asked(position, self._asked(math.inf)[0])
        return position

    def _asked(self, deadline: float) -> tuple[int, bool]:
        """Return the signal that some rank has received, or 0, and whether a deadline has passed by rank 0's clock."""
        ranks = self.task.ranks
        late = ranks.first and time.monotonic() > deadline
        signal_number, passed = ranks.largest(self.interrupt.signal_number or 0, late)
        return signal_number, bool(passed)

    def save(self, position: Position, state: Any) -> float:
        """Write a checkpoint, and return the time at which it was finished, by the monotonic clock.

        Rank 0 writes it, with the states of all columns, while the others go on to their next window.

        Raises:
            NonFiniteError: when it would hold numbers that are not finite; nothing is written.
        """
        self.task.ranks.at(position.step, "save")
        tensors, training = capture(self.task, position, state)
        with self.task.methods.evaluation_weights(self.task.model):
            weights = weights_of(self.task.model)
        check_finite(self.task.model, weights, tensors)
        if not self.task.ranks.first:
            return time.monotonic()
        self.run.save(
            position.step,
            {"model": weights, "training": tensors},
            {**self.documents, "training": training},
            best=position.best.step if position.best else None,
        )
        return time.monotonic()

    def _round(self, position: Position, windows: Windows | Batches, state: Any, deadline: float) -> Any:
        """Train until metrics, a validation, a sample or a checkpoint are due, the epoch ends, or a signal arrives."""
        task = self.task
        intervals = [task.between(task.log_windows), task.between(task.validation_windows)]
        intervals.append(task.between(task.sample_windows))
        last = self.ending.last_window(position, windows)
        stop = min(last, self.ending.review_window(position, windows))
        stop = min(stop, *((position.window // every + 1) * every for every in intervals if every))
        started = time.monotonic()
        tokens_before = position.epoch_tally.tokens
        task.model.train()
        state = train_round(
            task.model,
            self._windows(position, windows, stop, deadline),
            state,
            task.optimizer,
            loss_scale=task.loss_scale,
            max_norm=task.max_norm,
            hooks=task.methods.hooks(),
            tallies=(position.epoch_tally, position.line_tally),
            ranks=task.ranks,
            accumulate=task.accumulate,
        )
        position.seconds += time.monotonic() - started
        if position.window == last or (position.window == stop and not stop % intervals[0]):
            seconds = max(time.monotonic() - started, 1e-9)
            rate = task.optimizer.param_groups[0]["lr"]
            speed = (position.epoch_tally.tokens - tokens_before) / seconds
            known = len(windows), position.steps_at_end(len(windows), task.epochs)
            position.metrics_bytes = self.metrics.train(position, rate, speed, *known)
            position.line_tally = Tally()
        return state

    def _within_epoch(self, position: Position, windows: Windows | Batches) -> bool:
        """Validate and sample if due within an epoch or run; return whether the validation was the best so far."""
        task = self.task
        window = position.window
        improved = False
        if window == len(windows) or self.ending.is_reached(position):
            return False
        with task.methods.evaluation_weights(task.model):
            if task.validation_windows and not window % task.between(task.validation_windows):
                record, _, improved = self._validate(position, epoch_ended=False)
                self.progress.validated(record)
            if task.sample_windows and not window % task.between(task.sample_windows):
                self._sample(position, f"epoch-{position.epoch + 1:03d}-window-{window:06d}")
        return improved

    def _end_epoch(self, position: Position) -> None:
        """Validate at the end of an epoch, then update the schedule, apply the verdicts of the methods, and sample."""
        task = self.task
        task.ranks.at(position.step, "validate")
        if not task.ranks.same_weights(task.model):
            self.progress.log("note: the ranks' weights differ in rounding, as their processors do; all get rank 0's")
        with task.methods.evaluation_weights(task.model):
            record, found, _ = self._validate(position, epoch_ended=True)
            settled = task.methods.settled()
            if settled:
                task.schedule.validated(found.judged)
            for verdict in task.methods.verdicts({**record, "judged": found.judged, "settled": settled}):
                position.stopped |= verdict.stop
                if verdict.message is not None:
                    self.progress.log(verdict.message)
            self.progress.validated(record)
            self._sample(position, f"epoch-{position.epoch + 1:03d}")

    def _windows(
        self, position: Position, windows: Windows | Batches, stop: int, deadline: float
    ) -> Iterator[tuple[Tensor, Tensor]]:
        device = next(self.task.model.parameters()).device
        first = position.window
        while position.window < stop:
            if not position.window % self.task.accumulate:
                signal_number, late = self._asked(deadline)
                if signal_number or (late and position.window > first):
                    return
            self.task.ranks.at(position.step, "train")
            for group in self.task.optimizer.param_groups:
                group["lr"] = self._rate(position, windows) * windows.share(position.window)
            inputs, targets = windows[position.window]
            yield inputs.to(device), targets.to(device)
            position.window += 1
            position.step += 1
            self.progress.window(position, len(windows), self.task.epochs)

    def _rate(self, position: Position, windows: Windows | Batches) -> float:
        """Return the learning rate of the schedule, before it is scaled by the length of a random window."""
        return self.task.learning_rate * rate_factor(self.task, position, windows)

    def _review(self, position: Position, windows: Windows | Batches) -> bool:
        """Plan the end of the run or change the plan, if it is time to; return whether there is a new plan."""
        plan = self.ending.review(position, windows)
        if plan is not None:
            position.metrics_bytes = self.metrics.planned(position, plan)
            if line := announced(position.plans, self.task.max_minutes):
                self.progress.log(line)
        return plan is not None

    def _validate(self, position: Position, *, epoch_ended: bool) -> tuple[dict[str, Any], Validation, bool]:
        self.task.ranks.at(position.step, "validate")
        found = self.task.validate(self.progress.reports.track, self.task.ranks)
        nats_per_token = found.nats / found.tokens
        if not math.isfinite(nats_per_token):
            raise NonFiniteError(f"the validation loss is {nats_per_token}")
        now = Best(position.epoch, position.step, nats_per_token, self.task.methods.settled(), found.judged)
        improved = position.best is None or now.rank() < position.best.rank()
        if improved:
            position.best = now
        rate = self.task.optimizer.param_groups[0]["lr"]
        record, position.metrics_bytes = self.metrics.valid(position, found, rate, epoch_ended=epoch_ended)
        return record, found, improved

    def _sample(self, position: Position, name: str) -> None:
        if self.task.sample is not None and self.task.ranks.first:
            # the others wait for a long text, which is no sign that this rank hangs
            self.task.ranks.at(position.step, "sample")
            text = self.task.sample(position.step)
            self.run.write_text(f"samples/{name}.txt", text + "\n")
            self.metrics.sample(text, position.step)
            self.progress.log(f"sample   {shortened(' '.join(text.split()), SAMPLE_CHARACTERS)}")

    def _stop_if_asked(self, position: Position, signal_number: int | None) -> None:
        if signal_number:
            # no rank leaves before the checkpoint is whole
            self.task.ranks.wait()
            if position.step and self._resume().startswith("refrain train"):
                self.progress.log(f"{self._resume()} --finish ends the run soon, with its learning rate at zero")
            where = f"stopped in epoch {position.epoch + 1} after window {position.window}"
            raise Interrupted(signal_number, where, self._resume())

    def _resume(self) -> str:
        """Return the command or call that resumes the run; only a call can be given a user's methods or network."""
        given = ", methods=[...]" if self.task.methods.own else ""
        given += ", model=..." if "network" in self.documents.get("config", {}) else ""
        if given:
            return f"refrain.resume({str(self.run.path)!r}{given})"
        return f"refrain train --resume --out {shlex.quote(str(self.run.path))}"

    def _advice(self, position: Position, cause: str, remedy: str) -> str:
        rate = self.task.optimizer.param_groups[0]["lr"]
        saved = "no checkpoint was saved yet"
        with contextlib.suppress(CheckpointError):
            saved = f"the last good checkpoint is {self.run.newest()[0].folder}"
        return (
            f"training stopped in epoch {position.epoch + 1} after window {position.window}, learning rate {rate:g}: "
            f"{cause}; {saved}; {remedy}"
        )
