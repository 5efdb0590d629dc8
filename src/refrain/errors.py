"""Errors that a user can correct. The command line prints their messages without a traceback."""

import difflib
import reprlib
from collections.abc import Iterable

_LONGEST = 60
# of a name that is compared with others
_LONGEST_NAME = 200
_SHORT = reprlib.Repr()
_SHORT.maxlevel = 4
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = _SHORT.maxset = 20
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = _LONGEST


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


class MissingSplitError(DataError):
    """A folder that has no text for a split."""


class InvalidUTF8Error(DataError):
    """A text that is not UTF-8, which can be read with U+FFFD in place of what is invalid.

    The command line adds the option or the setting with which the command does so, if it has one.
    """


class BinaryFileError(DataError):
    """A file that is not a text, which a model of bytes can read.

    The command line adds the option or the setting with which the command reads bytes, if it has one.
    """


class CheckpointError(UserError):
    """A run folder or checkpoint that is missing, damaged, in use, or of another shape, or an output that exists."""

    exit_status = 4


class UnwritableError(CheckpointError):
    """A folder or a file that cannot be written, as on a full disk, whatever the run in it."""


class MachineError(UserError):
    """What this machine or its environment lacks, such as a GPU or a package; another machine may have it."""


class DivergedError(UserError):
    """A training whose loss, gradients or weights are not finite any more."""


class LostRankError(UserError):
    """One of the processes that train a model together has died, failed or hangs."""

    exit_status = 5


def shortened(text: str, longest: int = _LONGEST) -> str:
    """Return a text for a message of one line: cut, with control characters and single surrogates as escapes.

    Args:
        text: any text.
        longest: the number of characters that are kept; `…` takes the place of the others.
    """
    line = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text[:longest])
    return line + ("…" if len(text) > longest else "")


def shown(value: object) -> str:
    """Return the representation of a value for a message of one line, cut where it is long.

    Args:
        value: plain data of any size and depth.
    """
    if isinstance(value, str):
        return repr(value if len(value) <= _LONGEST else value[:_LONGEST] + "…")
    try:
        return shortened(_SHORT.repr(value))
    except ValueError:
        # Python does not write numbers of more digits than sys.get_int_max_str_digits()
        return "a number of thousands of digits"


def quantity(count: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, as in `1 line` and `2,000 lines`.

    Args:
        count: the number of things.
        noun: the name of one of them.
        plural: the name of several, where it is not the noun and an s.
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint at the known name that is most like one, or nothing."""
    if len(name) > _LONGEST_NAME:
        return ""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
