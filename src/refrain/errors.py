"""Errors that a user can correct. The command line prints their messages without a traceback."""


class UserError(ValueError):
    """One mistake or several that the user can correct. Each message names the cause and the remedy.

    Attributes:
        mistakes: the messages. The text of the exception has a line for each.
    """

    exit_status = 2

    def __init__(self, *mistakes: str) -> None:
        super().__init__("\n".join(map(str, mistakes)))
        self.mistakes = mistakes


class DataError(UserError):
    """A corpus that is missing, empty, damaged or too small for the request."""

    exit_status = 3


class CheckpointError(UserError):
    """A run folder or checkpoint that is missing, damaged, in use, or has another shape or version."""

    exit_status = 4
