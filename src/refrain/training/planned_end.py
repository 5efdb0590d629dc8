"""The planned end of a run: a number of steps that takes the place of the number of epochs, and what is left of the
schedule until then.

A limit of time becomes a number of steps when the speed is known, and is reviewed while the run continues. Each plan is
part of the checkpoints, and the learning rate follows from plan and step alone: a resumed run repeats the steps of the
plan bit for bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from refrain.optim import Schedule

FIRST_REVIEW, NEXT_REVIEW = 0.05, 0.1
"""The fractions of the limit until the end is first planned, and between reviews of the plan; the latter also of the
steps that are left."""
TOLERANCE = 0.05
"""A plan is changed if it would end earlier or later than the limit by more than this fraction of it."""
COOLDOWN = 0.2
"""The fraction of a run in which the learning rate falls to zero if its schedule does not decrease it."""
MOVED, QUIET_SECONDS = 0.1, 30.0
"""The end is announced again if it moves by more than this fraction, and not within these seconds of the last time."""
ANNEALED = 0.2
"""A schedule decreases the learning rate if its last factor is at most this."""
FINISH = 0.2
"""The number of steps in which a run is finished, as a fraction of the steps before."""


@dataclass(frozen=True)
class Plan:
    """A decision about the end of a run.

    Attributes:
        reason: `max_minutes`, the limit of time, or `finish`, the request to finish an interrupted run.
        step: the number of steps before the decision.
        seconds: the time spent before it.
        progress: the finished fraction of the schedule at the decision.
        end: the number of steps at which the run ends.
        cooldown: whether the learning rate also falls linearly to zero in the last fifth of the schedule.
        factor: for `finish`, the factor on the learning rate at the decision, which falls linearly to zero.
    """

    reason: Literal["max_minutes", "finish"]
    step: int
    seconds: float
    progress: float
    end: int
    cooldown: bool = False
    factor: float = 1.0

    def part_at(self, step: int) -> float:
        """Return the finished fraction of the steps of the plan."""
        return 1.0 if step >= self.end else (step - self.step) / (self.end - self.step)

    def progress_at(self, step: int) -> float:
        """Return the finished fraction of the schedule at a step: it is 1 at the end."""
        return self.progress + (1 - self.progress) * self.part_at(step)

    def rate_factor(self, step: int, epochs: int, schedule: Schedule) -> float:
        """Return the factor on the learning rate at a step.

        Args:
            step: the number of steps before it.
            epochs: the number of epochs of the schedule, which is stretched to end with the run.
            schedule: the schedule.
        """
        if self.reason == "finish":
            return self.factor * (1 - self.part_at(step))
        progress = self.progress_at(step)
        factor = schedule.factor(min(int(progress * epochs), epochs - 1), progress)
        return factor * min(1.0, (1 - progress) / COOLDOWN) if self.cooldown else factor


@dataclass(frozen=True)
class Moment:
    """Where a run is when its end is planned.

    Attributes:
        step: the number of steps so far.
        seconds: the time spent so far, with validations.
        progress: the finished fraction of the schedule.
        last: the number of steps of all epochs.
        epochs: the number of epochs of the schedule.
    """

    step: int
    seconds: float
    progress: float
    last: int
    epochs: int


def planned(limit: float, now: Moment, plan: Plan | None, schedule: Schedule) -> Plan | None:
    """Plan the end of a run with a limit of time, or review the plan.

    Args:
        limit: the limit in seconds.
        now: where the run is.
        plan: the present plan, if there is one.
        schedule: the schedule of the learning rate.

    Returns:
        A plan that takes the place of the present one; None if this one fits, or if the epochs end before the limit.
    """
    steps, seconds = (now.step, now.seconds) if plan is None else (now.step - plan.step, now.seconds - plan.seconds)
    if steps < 1 or seconds <= 0 or (plan is not None and plan.reason == "finish"):
        return None
    # the schedule has ended, and with it the learning rate
    if now.progress >= 1:
        return None
    per_second = steps / seconds
    end = min(now.last, now.step + max(0, int((limit - now.seconds) * per_second)))
    expected = now.last if plan is None else plan.end
    if plan is None and end >= expected:
        return None
    if plan is not None and abs(end - expected) <= TOLERANCE * limit * per_second:
        return None
    cooldown = plan.cooldown if plan is not None else schedule.factor(now.epochs - 1, 1.0) > ANNEALED
    return Plan("max_minutes", now.step, now.seconds, now.progress, end, cooldown)


def finishing(now: Moment, windows: int, factor: float) -> Plan:
    """Plan to finish a run: a fifth of the steps before, but no more than an epoch or than is left.

    Args:
        now: where the run is.
        windows: the number of windows of an epoch.
        factor: the present factor on the learning rate.
    """
    steps = max(1, min(int(FINISH * now.step), windows, now.last - now.step))
    return Plan("finish", now.step, now.seconds, now.progress, now.step + steps, factor=factor)


def announced(plans: Sequence[Plan], max_minutes: float | None) -> str:
    """Return a line about the last plan: where the run ends, or that the end has moved; empty if it has not by much.

    Args:
        plans: all plans so far, the last of which is new.
        max_minutes: the limit of time.
    """
    plan, before = plans[-1], None
    for each in plans[:-1]:
        before = each if _is_news(each, before) else before
    if not _is_news(plan, before):
        return ""
    if before is None or before.reason != plan.reason:
        return f"the run ends after about {plan.end:,} steps, {described(plan, max_minutes)}"
    pace = "faster" if plan.end > before.end else "slower"
    return f"the end moves from step {before.end:,} to {plan.end:,}, as training has become {pace}"


def _is_news(plan: Plan, before: Plan | None) -> bool:
    """Whether a plan is announced after the one that was announced last."""
    if before is None or before.reason != plan.reason:
        return True
    return abs(plan.end - before.end) > MOVED * before.end and plan.seconds - before.seconds >= QUIET_SECONDS


def described(plan: Plan, max_minutes: float | None = None) -> str:
    """Return the reason of a plan and what happens to the learning rate, in words.

    Args:
        plan: the plan.
        max_minutes: the limit of time.
    """
    if plan.reason == "finish":
        return f"{plan.end - plan.step:,} from here, in which the learning rate falls to zero"
    how = "the schedule is shortened to that"
    if plan.cooldown:
        how = f"the learning rate falls to zero in the last {COOLDOWN:.0%}"
    return f"for training.max_minutes={max_minutes:g}: {how}"
