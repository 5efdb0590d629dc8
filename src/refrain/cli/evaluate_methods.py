"""The methods of `refrain evaluate`: their names and settings, checked against the other options."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from refrain.evaluation.methods import MatchFrom, Method

MethodName = Literal["static", "cache", "match", "dynamic", "dynamic+cache", "dynamic+match"]
OPTIONS = {
    "the cache's window": "--cache-window",
    "the cache's flatness": "--cache-flatness",
    "the cache's share": "--cache-share",
    "learning_rate": "--dynamic-rate",
    "decay": "--dynamic-decay",
    "epsilon": "--dynamic-epsilon",
    "the longest match": "--match-longest",
}
"""How the messages of the library begin, and the option that sets the value."""


def learns(methods: "list[Method]", search: int | None) -> bool:
    """Whether the methods need the texts that the model was trained on."""
    return search is not None or any(one.dynamics is not None or one.match is not None for one in methods)


def method_names(
    requested: "Sequence[MethodName | Literal['all']]", protocol: str, per_token: Path | None, search: int | None
) -> list[MethodName]:
    """The names of the methods, once they are checked against the other options."""
    names: list[MethodName] = [name for name in dict.fromkeys(requested) if name != "all"]
    if "all" in requested:
        names = list(get_args(MethodName))
    _check(names, protocol, per_token, search)
    return names


def methods_of(
    names: Sequence[MethodName],
    cache: dict[str, Any],
    dynamic: dict[str, Any],
    steps: int | None,
    streams: int | None,
    match_longest: int | None,
    match_from: "MatchFrom | None",
    split: str | None,
    data: object,
    search: int | None = None,
) -> "list[Method]":
    """Build the methods from the options that are given."""
    from refrain.errors import UserError

    cache = {key: value for key, value in cache.items() if value is not None}
    dynamic = {key: value for key, value in dynamic.items() if value is not None}
    copying = {"longest": match_longest, "source": match_from}
    match: Any = {key: value for key, value in copying.items() if value is not None}
    chosen = ", ".join(names)
    if match and not any("match" in name for name in names):
        option = {"longest": "--match-longest", "source": "--match-from"}[next(iter(match))]
        raise UserError(f"{option} cannot take effect with --method {chosen}")
    if cache and not any("cache" in name for name in names):
        raise UserError(f"--cache-{next(iter(cache))} cannot take effect with --method {chosen}")
    if (dynamic or steps or streams) and not any("dynamic" in name for name in names):
        raise UserError(f"settings of dynamic evaluation cannot take effect with --method {chosen}")
    for option, value in (("--dynamic-steps", steps), ("--streams", streams)):
        if value is not None and value < 1:
            raise UserError(f"{option} must be at least 1 (got {value})")
    for name, part in (("dynamic+cache", "a cache"), ("dynamic+match", "matches")):
        if name in names and (streams or 1) > 1:
            raise UserError(f"--streams must be 1 with {part} (got {streams})")

    from refrain.evaluation import Cache, Dynamics, Match
    from refrain.evaluation.methods import Method

    try:
        methods = [
            Method(
                name,
                Cache(**cache) if "cache" in name else None,
                Dynamics(**dynamic) if "dynamic" in name else None,
                steps or 5,
                streams or 1,
                Match(**match) if "match" in name else None,
            )
            for name in names
        ]
    except ValueError as error:
        raise UserError(_with_option(str(error))) from None
    note_choices(methods, search, split, data)
    return methods


def _with_option(message: str) -> str:
    """A message of the library, with the name of the option in place of that of the value."""
    for name, option in OPTIONS.items():
        if message.startswith(name):
            return option + message.removeprefix(name)
    return message


def note_choices(
    methods: "Sequence[Method]", search: int | None, split: str | None, data: object, what: str = "--split train"
) -> None:
    """Log or refuse what methods learn from the text that is measured; see `check_match_text`.

    Args:
        methods: the methods.
        search: the number of settings that are tried on the validation text, or None.
        split: the split that is measured, if it is given.
        data: another corpus, if one is given.
        what: see `check_match_text`.

    Raises:
        UserError: see `check_match_text`.
    """
    check_match_text(methods, split, data, what)
    if search is not None:
        note_choice("settings of --search are", split, data)


def note_choice(what: str, split: str | None, data: object) -> None:
    """Log that something is chosen on the text that is measured, where it is.

    Args:
        what: what is chosen on the validation text, with its verb.
        split: the split that is measured, if it is given.
        data: another corpus, if one is given.
    """
    from .output import log

    if data is None and split == "valid":
        log(f"note: the {what} chosen on the validation text, which is what is measured")


NAMED = "the text of --data, which is the training text of the run,"


def check_match_text(methods: "Sequence[Method]", split: str | None, data: object, what: str = "--split train") -> None:
    """Refuse to copy from the text that is measured, and note where its weights are fitted on it.

    Args:
        methods: the methods.
        split: the split that is measured, if it is given.
        data: another corpus, if one is given.
        what: how the user has named the training text.

    Raises:
        UserError: when the training text is measured with matches from it, in which each token has occurred.
    """
    from refrain.errors import UserError

    matches = [method.match for method in methods if method.match is not None]
    if data is None and split == "train" and any(match.source == "train" for match in matches):
        raise UserError(
            f"{what} cannot be measured with matches from the training text, which has all of its tokens; give "
            "--match-from history, or another text"
        )
    if matches:
        note_choice("weights of the matches are", split, data)


def _check(names: Sequence[MethodName], protocol: str, per_token: Path | None, search: int | None) -> None:
    from refrain.errors import UserError

    static = list(names) == ["static"]
    method = ", ".join(names)
    if not static and protocol != "exact":
        raise UserError(f"--method {method} requires --protocol exact (got {protocol!r})")
    if per_token is not None and (protocol != "exact" or not static):
        raise UserError(f"--per-token requires --protocol exact and --method static (got {protocol!r}, {method!r})")
    if search is not None and search < 1:
        raise UserError(f"--search must be at least 1 (got {search})")
    if search is not None and set(names) <= {"static", "match"}:
        raise UserError(f"--search cannot take effect with --method {method}")
