"""What a command can do about a mistake whose message does not depend on the command."""

import os
from collections.abc import Sequence
from shlex import quote

from refrain.errors import BinaryFileError, InvalidUTF8Error, UserError

from .bench_options import NO_RECIPE

# command -> how it reads invalid UTF-8, and how it reads bytes; the others have no option or setting for it
_REPLACING = dict.fromkeys(
    ("train", "evaluate", "score", "surprisal", "pairs", "tag", "features", "probe", "compare", "data"),
    "continue with --errors replace",
) | dict.fromkeys(("check", "bench"), "continue with data.errors=replace")
_BYTES = dict.fromkeys(("train", "check"), "read bytes with data.unit=byte")
_BYTES["data"] = "read bytes with --unit byte"

# the commands of a tagger that have the setting, but not the option
_WITHOUT_SKIP_BAD = ("check", "bench", "sweep")

# command -> its options in place of settings
_OPTIONS = {command: {"data.column": "--column", "data.word_column": "--word-column"} for command in ("data", "tag")}

# the commands whose first argument is a run, and whose second is a file
RUN_FIRST = ("score", "surprisal", "pairs", "tag", "features")

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
    if command in RUN_FIRST and (swapped := _swapped(words[1:])):
        run, file = swapped
        right = f"refrain {command} {quote(run)} {quote(file)}"
        return [f"{file}: is a file, and {run} is a run; the run comes first: {right}"]
    remedy = None
    if isinstance(error, InvalidUTF8Error):
        remedy = _REPLACING.get(command)
    elif isinstance(error, BinaryFileError):
        remedy = _BYTES.get(command)
    mistakes = [mistake if remedy is None else f"{mistake}, or {remedy}" for mistake in error.mistakes]
    if command in _WITHOUT_SKIP_BAD:
        mistakes = [mistake.replace("with --skip-bad", "with data.skip_bad=true") for mistake in mistakes]
    for setting, option in _OPTIONS.get(command, {}).items():
        mistakes = [mistake.replace(setting, option) for mistake in mistakes]
    return mistakes


def _swapped(words: Sequence[str]) -> tuple[str, str] | None:
    """The run and the file of a command to which they were given in the other order."""
    from refrain.runs.named import named_run

    if len(words) < 2 or any(word.startswith("-") for word in words[:2]):
        return None
    file, run = words[:2]
    return (run, file) if os.path.isfile(file) and (named_run(run) / "checkpoints").is_dir() else None


def memory_remedy(words: Sequence[str]) -> str:
    """What to do where a command needs more memory than there is.

    Args:
        words: the words of the command.
    """
    command = words[0] if words else ""
    if command == "bench" and not set(NO_RECIPE).isdisjoint(words):
        return _SMALLER
    return _MEMORY.get(command, _SMALLER)
