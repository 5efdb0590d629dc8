"""What a command can do about a mistake whose message does not depend on the command."""

from collections.abc import Sequence

from refrain.errors import BinaryFileError, InvalidUTF8Error, UserError

from .bench_options import NO_RECIPE

# command -> how it reads invalid UTF-8, and how it reads bytes; the others have no option or setting for it
_REPLACING = dict.fromkeys(
    ("train", "evaluate", "score", "surprisal", "pairs", "tag", "features", "probe", "compare", "data"),
    "continue with --errors replace",
) | dict.fromkeys(("check", "bench"), "continue with data.errors=replace")
_BYTES = dict.fromkeys(("train", "check"), "read bytes with data.unit=byte")
_BYTES["data"] = "read bytes with --unit byte"

_SMALLER = "use a machine with more memory or a smaller model"
_MEMORY = dict.fromkeys(("train", "check", "bench", "sweep"), "lower model.hidden_sizes or training.batch_size")
_MEMORY["generate"] = f"lower --samples, or {_SMALLER}"
_MEMORY |= dict.fromkeys(("features", "probe"), f"lower --batch-size, or {_SMALLER}")


def with_remedies(error: UserError, words: Sequence[str]) -> list[str]:
    """The messages of an error, with what the command can do about it.

    Args:
        error: the error.
        words: the words of the command.
    """
    command = words[0] if words else ""
    remedy = None
    if isinstance(error, InvalidUTF8Error):
        remedy = _REPLACING.get(command)
    elif isinstance(error, BinaryFileError):
        remedy = _BYTES.get(command)
    return [mistake if remedy is None else f"{mistake}, or {remedy}" for mistake in error.mistakes]


def memory_remedy(words: Sequence[str]) -> str:
    """What to do where a command needs more memory than there is.

    Args:
        words: the words of the command.
    """
    command = words[0] if words else ""
    if command == "bench" and not set(NO_RECIPE).isdisjoint(words):
        return _SMALLER
    return _MEMORY.get(command, _SMALLER)
