"""A program in work, and what the model thread reports of it."""

from collections.abc import Callable
from typing import Any, NamedTuple

from .refused import Refused
from .work import Part, Program


class Event(NamedTuple):
    """What the model thread reports of a program: a value, the result as the last one, or an error."""

    value: Any = None
    ended: bool = False
    error: Refused | None = None


class Job:
    """A program in work.

    Args:
        program: the program.
        deadline: the time, by the monotonic clock, until which it may run.
        deliver: called on the event loop with each event.

    Attributes:
        requested: the part that it waits for.
        cancelled: whether nobody waits for it any more.
    """

    def __init__(self, program: Program, deadline: float, deliver: Callable[[Event], None]) -> None:
        self.program = program
        self.deadline = deadline
        self.deliver = deliver
        self.requested: Part | None = None
        self.cancelled = False
