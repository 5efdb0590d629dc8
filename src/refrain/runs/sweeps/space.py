"""The table `[sweep]` of a file: which settings a sweep varies, over which values, and how cells are chosen."""

import itertools
import math
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from refrain.config.toml_file import line_of, lines_of, read_toml
from refrain.errors import UserError, nearest, shown

from ..checks import SEED_LIMIT

METHODS = ("grid", "random", "optuna")
SAMPLERS = ("tpe", "random", "qmc", "cmaes", "gp")
PRUNERS = ("none", "median", "halving", "hyperband")
OPTIONS = ("method", "cells", "seed", "seeds", "minutes", "sampler", "pruner", "space")
SEED = "training.seed"
MOST_CELLS = 10_000
# larger numbers would be infinite in a table
LARGEST = 1e300
# attempts to draw a cell that was not drawn before
_TRIES = 1000

OTHER_TOKENS = ("data.unit", "data.pieces", "data.piece_model", "data.piece_seed", "data.tokens")
"""Settings that change what a token is, and with it what a perplexity is of."""
OTHER_TEXT = (
    "data.corpus", "data.split", "data.cleaning", "data.lowercase", "data.tokenise", "data.normalise", "data.errors",
    "data.min_count", "data.max_words", "data.max_characters", "data.vocabulary", "data.vocabulary_from",
    "training.validation",
)  # fmt: skip
"""Settings of language models that change the text or the words whose perplexity is measured."""
OTHER_TAGS = (
    "data.corpus", "data.split", "data.column", "data.word_column", "data.underscore", "data.folds", "data.fold",
    "data.fold_seed", "data.max_tokens", "data.skip_bad", "training.best_by",
)  # fmt: skip
"""Settings of taggers that change the words and tags that are counted, or what decides between cells."""


class Range(NamedTuple):
    """The values from `low` to `high`, both included; whole numbers if both are."""

    low: float
    high: float
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether the values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)


Values = list[Any] | Range


class Space(NamedTuple):
    """What a sweep varies, and how.

    Attributes:
        method: grid, random or optuna.
        values: the values of each setting, by dotted name.
        cells: the number of settings to try; None for a grid, which tries all.
        seed: the seed of what is drawn.
        seeds: the values of `training.seed` with which each cell is repeated; None for that of the recipe.
        minutes: the minutes after which a worker begins no other cell, or None.
        sampler: the sampler of optuna.
        pruner: the pruner of optuna.
    """

    method: str
    values: dict[str, Values]
    cells: int | None = None
    seed: int = 0
    seeds: list[int] | None = None
    minutes: float | None = None
    sampler: str = "tpe"
    pruner: str = "none"


def read_space(path: Path) -> Space:
    """Read the table `[sweep]` of a TOML file.

    Args:
        path: the file.

    Raises:
        UserError: when the file cannot be read, or the table is missing or has mistakes: a line for each.
    """
    text, tree = read_toml(path)
    if not isinstance(tree.get("extends"), str):
        raise UserError(f'{path}: extends: is missing; name the recipe, as in extends = "zaremba-small"')
    given = tree.get("sweep")
    if not isinstance(given, dict):
        raise UserError(f"{path}: the table [sweep] is missing; it has the settings that are varied, in [sweep.space]")
    return _Reader(path, lines_of(text)).space(given)


class _Reader:
    """Collects the mistakes of a table, each with its line."""

    def __init__(self, path: Path, lines: Mapping[str, int]) -> None:
        self._path, self._lines = path, lines
        self._mistakes: list[str] = []

    def space(self, given: Mapping[str, Any]) -> Space:
        for name in given:
            if name not in OPTIONS:
                self._wrong(name, f"unknown key{nearest(name, OPTIONS)}")
        method = self._choice(given, "method", METHODS, "grid")
        table = given.get("space", {})
        values: dict[str, Values] = {}
        for name, value in _leaves(table if isinstance(table, dict) else {}):
            values |= self._values(name, value, method)
        seeds, drawn = self._seeds(given, values), method != "grid"
        if not values and not self._mistakes and (seeds is None or "space" in given or drawn):
            self._wrong("space", "is empty; give settings with their values, as in model.dropout = [0.2, 0.4]")
        cells = self._number(given, "cells", 1, MOST_CELLS, whole=True)
        if drawn and cells is None and "cells" not in given:
            self._wrong("cells", f'is missing; say how many settings method = "{method}" tries')
        for name, allowed in (("cells", drawn), ("sampler", method == "optuna"), ("pruner", method == "optuna")):
            if name in given and not allowed:
                self._wrong(name, f'cannot take effect with method = "{method}"; leave it out')
        seed = self._number(given, "seed", 0, 2**32 - 1, whole=True)
        space = Space(
            method,
            values,
            None if cells is None else int(cells),
            0 if seed is None else int(seed),
            seeds,
            self._number(given, "minutes", 0, math.inf, whole=False),
            self._choice(given, "sampler", SAMPLERS, "tpe"),
            self._choice(given, "pruner", PRUNERS, "none"),
        )
        if method == "optuna" and seeds is not None and len(seeds) > 1:
            self._wrong("seeds", "optuna tries each setting once; leave seeds out, and repeat the best with --seeds")
        if self._mistakes:
            raise UserError(*self._mistakes)
        return space

    def _wrong(self, name: str, what: str) -> None:
        full = f"sweep.{name}"
        self._mistakes.append(f"{self._path}:{line_of(full, self._lines)}: {full}: {what}")

    def _choice(self, given: Mapping[str, Any], name: str, known: tuple[str, ...], default: str) -> str:
        value = given.get(name, default)
        if value not in known:
            hint = nearest(value, known) if isinstance(value, str) else ""
            self._wrong(name, f"must be one of {', '.join(known)} (got {shown(value)}){hint}")
            return default
        return str(value)

    def _number(self, given: Mapping[str, Any], name: str, low: float, high: float, *, whole: bool) -> float | None:
        value = given.get(name)
        if value is None:
            return None
        if not _is_number(value) or (whole and not isinstance(value, int)) or not low <= value <= high:
            most = "" if math.isinf(high) else f" and at most {high:,}"
            self._wrong(name, f"must be a {'whole ' * whole}number, at least {low}{most} (got {shown(value)})")
            return None
        return float(value)

    def _values(self, name: str, value: Any, method: str) -> dict[str, Values]:
        where = f"space.{name}"
        if name in OTHER_TOKENS:
            cause = "changes what a token is, so that perplexity cannot tell the best cell"
            self._wrong(where, f"{cause}; make a sweep for each value, and compare bits per byte")
            return {}
        if isinstance(value, list) and value:
            different: dict[Any, Any] = {}
            for each in value:
                different.setdefault(_key(each), each)
            return {name: list(different.values())}
        if isinstance(value, dict):
            problem = _range_problem(value)
            if problem is None and method == "grid":
                problem = 'a range needs method = "random" or "optuna"; give a grid a list of values'
            if problem is None:
                return {name: Range(value["low"], value["high"], value.get("log", False))}
            self._wrong(where, problem)
        elif value == []:
            self._wrong(where, "the list is empty; give at least one value")
        else:
            self._wrong(
                where, f"must be a list of values, or a range such as {{ low = 1, high = 9 }} (got {shown(value)})"
            )
        return {}

    def _seeds(self, given: Mapping[str, Any], values: dict[str, Values]) -> list[int] | None:
        """The seeds: `sweep.seeds`, or the values of `training.seed` in the space, which are the same."""
        found, name = given.get("seeds"), "seeds"
        own = values.pop(SEED, None)
        if own is not None and found is not None:
            self._wrong("seeds", f"is also {SEED} of the space; leave one of them out")
        elif own is not None:
            found, name = own, f"space.{SEED}"
        if found is None:
            return None
        if (
            not isinstance(found, list)
            or not found
            or not all(type(seed) is int and 0 <= seed < SEED_LIMIT for seed in found)
        ):
            self._wrong(
                name, f"must be a list of whole numbers less than 2**63, such as [1, 2, 3] (got {shown(found)})"
            )
            return None
        return list(dict.fromkeys(found))


def _key(value: Any) -> Any:
    """What is equal for two spellings of the same value, such as 1 and 1.0."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else repr(value)


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The settings of a space by dotted names; a table with `low` or `high` is a range."""
    for name, value in tree.items():
        if isinstance(value, dict) and value and not {"low", "high"} & set(value):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def _range_problem(value: Mapping[str, Any]) -> str | None:
    """What is wrong with a range, or None."""
    if unknown := [key for key in value if key not in ("low", "high", "log")]:
        return f"{unknown[0]!r} is not known of a range, which has low, high and log"
    if not (_is_number(value.get("low")) and _is_number(value.get("high")) and value["low"] < value["high"]):
        return "a range needs the numbers low and high, and low must be less than high"
    if not isinstance(value.get("log", False), bool):
        return "log must be true or false"
    return "low must be greater than 0 where log is true" if value.get("log") and value["low"] <= 0 else None


def cells_of(space: Space) -> list[dict[str, Any]]:
    """The settings of each cell of a grid or of random draws, without seeds: the same for the same space.

    Args:
        space: the space, whose method is not optuna.

    Raises:
        UserError: when there are too many cells, or fewer different ones than are to be drawn.
    """
    different = math.prod(_count(values) for values in space.values.values())
    if space.method == "grid":
        if different > MOST_CELLS:
            raise UserError(f'sweep.space: the grid has {different:,} cells; draw some of them with method = "random"')
        values = [each for each in space.values.values() if isinstance(each, list)]
        return [dict(zip(space.values, chosen, strict=True)) for chosen in itertools.product(*values)]
    assert space.cells is not None
    if space.cells > different:
        only = not any(isinstance(values, Range) for values in space.values.values())
        remedy = 'use method = "grid"' if only else "give fewer cells or wider ranges"
        raise UserError(f"sweep.cells: there are only {different:,} different cells; {remedy}")
    draw = random.Random(space.seed)
    found: dict[str, dict[str, Any]] = {}
    for _ in range(_TRIES * space.cells):
        cell = {name: _drawn(values, draw) for name, values in space.values.items()}
        found.setdefault(repr(cell), cell)
        if len(found) == space.cells:
            return list(found.values())
    raise UserError(f"sweep.cells: {space.cells} different cells were not found; give fewer cells or wider ranges")


def _count(values: Values) -> float:
    """The number of values that can be drawn; infinite for fractions, of which there are too many to count."""
    if isinstance(values, list):
        return len(values)
    return int(values.high) - int(values.low) + 1 if values.whole else math.inf


def _drawn(values: Values, draw: random.Random) -> Any:
    """A value; numbers of a range have four significant digits."""
    share = draw.random()
    if isinstance(values, list):
        return values[int(share * len(values))]
    low, high, log = values
    if values.whole and not log:
        return int(low + int(share * (high - low + 1)))
    value = math.exp(math.log(low) + share * (math.log(high) - math.log(low))) if log else low + share * (high - low)
    return round(value) if values.whole else min(max(float(f"{value:.4g}"), low), high)
