"""When a run ends: after its last epoch, or at the step that a plan names."""

import math
import time
from dataclasses import asdict, replace

from refrain.data import Batches, Windows

from .planned_end import FIRST_REVIEW, NEXT_REVIEW, Moment, Plan, finishing, planned
from .task import Position, Task


class Ending:
    """Plans the end of a run that has a limit of time.

    Args:
        task: the task that is trained.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.limit = math.inf if task.max_minutes is None else 60 * task.max_minutes
        self._zero = time.monotonic()
        self.next_review = math.inf
        """The time of the next review of the plan, by the monotonic clock."""
        self._reviewed = 0  # the step of the last review

    def begin(self, position: Position) -> None:
        """Start the clock, at the time that the run has spent already."""
        self._zero = time.monotonic() - position.spent_seconds
        self._reviewed = 0
        if not position.plans:
            self.next_review = self._zero + FIRST_REVIEW * self.limit
        else:
            self.next_review = time.monotonic() + NEXT_REVIEW * self.limit

    def review(self, position: Position, windows: Windows | Batches) -> Plan | None:
        """Note the time spent, and plan the end of the run or change the plan if it is time to.

        Args:
            position: the position in the run; a plan is added to it.
            windows: the windows of the epoch.

        Returns:
            The new plan, if there is one.
        """
        if self.task.max_minutes is None:
            return None
        # planned by rank 0's clock
        ranks = self.task.ranks
        plan = self._due(position, windows) if ranks.first else None
        self._reviewed, fields = ranks.from_first([self._reviewed, None if plan is None else asdict(plan)])
        if fields is None:
            return None
        position.plans.append(Plan(**fields))
        return position.plan

    def _due(self, position: Position, windows: Windows | Batches) -> Plan | None:
        """Plan the end, or change the plan, if it is time to."""
        now = time.monotonic()
        position.spent_seconds = now - self._zero
        if now < self.next_review and position.step < self._review_step(position):
            return None
        self.next_review = now + NEXT_REVIEW * self.limit
        self._reviewed = position.step
        plan = planned(self.limit, moment(self.task, position, windows), position.plan, self.task.schedule)
        return None if plan is None else _with_whole_update(plan, self.task, position, windows)

    def _review_step(self, position: Position) -> float:
        """The step at which a tenth of what was left of the plan at its last review is done.

        So a plan that was made while windows took much longer than later ones is changed before much of the schedule is
        spent.
        """
        plan = position.plan
        if plan is None or plan.reason != "max_minutes":
            return math.inf
        since = max(plan.step, self._reviewed)
        return since + math.ceil((plan.end - since) * NEXT_REVIEW)

    def review_window(self, position: Position, windows: Windows | Batches) -> int:
        """Return the number of windows of the epoch after which the plan is to be reviewed, at the latest."""
        step = self._review_step(position)
        if not position.step < step < math.inf:
            return len(windows)
        window = position.window + int(step) - position.step
        return min(len(windows), window + -window % self.task.accumulate)

    def is_reached(self, position: Position) -> bool:
        """Whether the run has reached the end of its plan."""
        return position.plan is not None and position.step >= position.plan.end

    def last_window(self, position: Position, windows: Windows | Batches) -> int:
        """Return the number of windows of the epoch up to which the run goes."""
        if position.plan is None:
            return len(windows)
        return min(len(windows), position.window + max(0, position.plan.end - position.step))


def moment(task: Task, position: Position, windows: Windows | Batches) -> Moment:
    """Return what a plan depends on.

    Args:
        task: the task that is trained.
        position: the position in the run.
        windows: the windows of the epoch.
    """
    done = position.epoch + position.window / len(windows)
    progress = min(done / task.epochs, 1.0) if position.plan is None else position.plan.progress_at(position.step)
    last = position.steps_of_epochs(len(windows), task.epochs)
    return Moment(position.step, position.spent_seconds or position.seconds, progress, last, task.epochs)


def rate_factor(task: Task, position: Position, windows: Windows | Batches) -> float:
    """Return the factor on the learning rate at a position, before it is scaled by the length of a random window.

    Args:
        task: the task that is trained.
        position: the position in the run.
        windows: the windows of the epoch.
    """
    if position.plan is not None:
        return position.plan.rate_factor(position.step, task.epochs, task.schedule)
    return task.schedule.factor(position.epoch, moment(task, position, windows).progress)


def plan_to_finish(task: Task, position: Position) -> Plan:
    """Plan to finish a run that was interrupted: the learning rate falls to zero in a few steps. Changes the position.

    Args:
        task: the task that is trained.
        position: the position in the run; the plan is added to it.
    """
    windows = task.windows(position.epoch)
    plan = finishing(moment(task, position, windows), len(windows), rate_factor(task, position, windows))
    plan = _with_whole_update(plan, task, position, windows)
    position.plans.append(plan)
    return plan


def _with_whole_update(plan: Plan, task: Task, position: Position, windows: Windows | Batches) -> Plan:
    """A plan that ends with the last window of an update, where an update accumulates the gradients of several."""
    window = (position.window + plan.end - position.step) % len(windows)
    more = min(-window % task.accumulate, len(windows) - window)
    return replace(plan, end=plan.end + more)
