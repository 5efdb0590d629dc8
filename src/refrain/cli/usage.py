"""Wrong words on the command line: what was meant, and how it is written."""

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from cyclopts import CycloptsError
from cyclopts.exceptions import UnknownCommandError, UnknownOptionError, UnusedCliTokensError

from refrain.errors import UserError, shown

WITH_SETTINGS = ("train", "check", "bench")
# a setting with its value, as in `training.epochs=3`
SETTING = re.compile(r"[a-z_]+(\.[a-z_0-9]+)*=")
# the commands that read one text after the run
ONE_TEXT = ("score", "surprisal", "tag")


def without_help_command(words: Sequence[str], commands: Mapping[str, str]) -> list[str]:
    """Return the arguments with `help NAME` replaced by `NAME --help`.

    Args:
        words: the arguments of the command line.
        commands: the known commands.

    Raises:
        UserError: when help is requested for an unknown command.
    """
    if list(words[:1]) != ["help"]:
        return list(words)
    chain = [word for word in words[1:] if not word.startswith("-")]
    if chain and chain[0] not in commands:
        raise UserError(_unknown_command(chain[0], commands))
    return [*chain, "--help"]


def check_words(words: Sequence[str]) -> None:
    """Check that each word is one that the system can hand over, so that it can name a file.

    Raises:
        UserError: when a word has a zero character, or a surrogate that stands for no byte, or a path is empty.
    """
    for word in words:
        try:
            valid = b"\0" not in os.fsencode(word)
        except UnicodeEncodeError:
            valid = False
        if not valid:
            raise UserError(f"{shown(word)}: is not valid text; write it in UTF-8, without a zero character")
    for option in ("--data", "--out", "--from"):
        if f"{option}=" in words or (option, "") in pairwise(words):
            raise UserError(f"{option}: is empty, as a variable of the shell that is not set leaves it; give a path")


def with_auto(words: Sequence[str]) -> list[str]:
    """Return the arguments with `--resume=auto` as an option of its own, since `--resume` takes no value.

    Args:
        words: the arguments of the command line.
    """
    end = words.index("--") if "--" in words else len(words)
    return [*("--resume-auto" if word == "--resume=auto" else word for word in words[:end]), *words[end:]]


def wrong_words(
    error: CycloptsError, words: Sequence[str], commands: Mapping[str, str], examples: Mapping[str, str]
) -> str:
    """Return a message about arguments that a command does not take.

    Args:
        error: what was found wrong.
        words: the arguments of the command line.
        commands: the known commands.
        examples: an example of each command.
    """
    chain = error.command_chain or ()
    if isinstance(error, UnknownCommandError) and not chain and error.unused_tokens:
        return _unknown_command(error.unused_tokens[0], commands)
    text = str(error).strip().rstrip("., ").replace("\n", " ")
    hint = ""
    if isinstance(error, UnknownOptionError) and chain and chain[0] in WITH_SETTINGS:
        option = error.token.keyword or error.token.value
        like = re.search(r" Did you mean --(\S+)\?", text)
        setting = _setting(option, words, like[1] if like else "")
        if setting:
            text = f"Unknown option: {option}"
        if setting or not like:
            hint = f"a setting is written without dashes, as in {setting or 'training.epochs=3'}; "
    elif isinstance(error, UnusedCliTokensError):
        hint = _hint_at_unused(" ".join(chain), error.unused_tokens or [])
    elif chain and chain[0] == "train" and (other := [word for word in words if word.startswith("--resume=")]):
        # with_auto has replaced the only value
        text = f"{other[0]}: --resume has no value but auto"
        hint = "write --resume or --resume=auto; "
    name = " ".join(chain)
    example = f", or type for example: {examples[name]}" if name in examples else ""
    return f"{text}; {hint}see {' '.join(['refrain', *chain, '--help'])}{example}"


def _hint_at_unused(command: str, unused: Sequence[str]) -> str:
    """What to do with words for which a command has no argument."""
    if command == "generate":
        return "give the beginning of the text with --prompt, in quotes; "
    files = any(map(os.path.exists, unused))
    if command in ONE_TEXT:
        if files:
            return f"it reads one file; join several with: cat FILE ... | refrain {command} RUN; "
        return f"give the text in a file or on standard input, as in: echo TEXT | refrain {command} RUN; "
    if files and command == "sweep":
        return "it takes one file; start a sweep for each of them; "
    if files and command.startswith("data "):
        return "it takes one path; give a folder, or a pattern in quotes so that the shell leaves it as it is; "
    return ""


def _unknown_command(name: str, commands: Mapping[str, str]) -> str:
    from refrain.errors import nearest

    return f"unknown command {name!r}{nearest(name, commands)}; known: {', '.join(commands)}; see refrain --help"


def _setting(option: str, words: Sequence[str], rival: str) -> str | None:
    """The setting, with its value, that was written as an option such as `--epochs 3` or `--epochs=3`.

    Args:
        option: what was written.
        words: the arguments of the command line.
        rival: the name of the most similar option. None is returned if it is at least as similar.
    """
    from refrain.config import Experiment, TaggerExperiment
    from refrain.config.schema import setting_names

    flag, equals, value = option.partition("=")
    name = flag.lstrip("-").replace("-", "_")
    known: dict[str, str] = {}
    for full in (*setting_names(Experiment), *setting_names(TaggerExperiment)):
        known.setdefault(full, full)
        known.setdefault(full.rpartition(".")[2], full)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    if not near or _likeness(name, near[0]) <= _likeness(name, rival.replace("-", "_")):
        return None
    if not equals and option in words:
        following = words[words.index(option) + 1 :]
        # what follows may be a setting of its own, or the next option
        is_value = bool(following) and not following[0].startswith("--") and not SETTING.match(following[0])
        value = following[0] if is_value else ""
    return f"{known[near[0]]}={value or '...'}"


def _likeness(name: str, other: str) -> float:
    return difflib.SequenceMatcher(None, name, other).ratio()
