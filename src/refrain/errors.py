"""What goes wrong at a user's hands. The command line prints these in one line, without a traceback."""


class UserError(ValueError):
    """A mistake that the user can mend: the message names the cause and the remedy."""

    exit_status = 2


class DataError(UserError):
    """A corpus that is missing, empty, broken or too small for what was asked of it."""

    exit_status = 3


class CheckpointError(UserError):
    """A run folder or checkpoint that is missing, damaged, in use, or of another shape or version."""

    exit_status = 4
