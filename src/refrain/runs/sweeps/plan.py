"""The cells of a sweep: numbered from 1, each with its settings, the same whatever worker asks."""

import contextlib
import functools
import hashlib
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from refrain.config import AnyExperiment, Experiment, resolve
from refrain.config.loader import Origins, amended, recipe_below
from refrain.config.toml_file import line_of, lines_of, read_toml
from refrain.config.toml_text import quoted, toml_beside
from refrain.errors import UserError
from refrain.storage.plain_json import dumps

from .space import OTHER_TAGS, OTHER_TEXT, SEED, Range, Space, cells_of, read_space

Recipes = Mapping[str, Callable[[], AnyExperiment]]


class Cell(NamedTuple):
    """A cell.

    Attributes:
        number: from 1.
        settings: what the sweep varies, by dotted name, with `training.seed` if the sweep has seeds.
        experiment: all settings.
    """

    number: int
    settings: dict[str, Any]
    experiment: AnyExperiment


class Sweep:
    """A sweep as its file describes it, with all its cells checked.

    The seeds vary slowest: the first cells have the first seed, so that cells keep their numbers when seeds are added.

    Args:
        path: the TOML file: a recipe with a table `[sweep]`.
        recipes: the known recipes.
        corpus: takes the place of `data.corpus`, if given.
        absolute: makes the name of a corpus absolute, so that every worker finds it.

    Raises:
        UserError: when the file has mistakes, or a cell has a setting that is unknown or refused: a line for each.
    """

    def __init__(
        self,
        path: Path,
        recipes: Recipes,
        *,
        corpus: str | None = None,
        absolute: Callable[[str], str] = str,
    ) -> None:
        self.path, self.recipes = path, recipes
        self.corpus, self._absolute = corpus, absolute
        self.space: Space = read_space(path)
        self.base = self.resolved({})
        self._settings = [] if self.space.method == "optuna" else self._named(lambda: cells_of(self.space))
        self._experiments = self._checked(self._settings or list(_ends(self.space)))

    def check_comparable(self) -> None:
        """Check that the figures of all cells are of one text, before the sweep is begun.

        Raises:
            UserError: when a language model's text or its words, or what is counted of a tagger, would vary.
        """
        lines = lines_of(read_toml(self.path)[0])
        names: Sequence[str] = OTHER_TAGS
        what = "which accuracy is compared"
        if isinstance(self.base, Experiment):
            names = OTHER_TEXT
            what = "the text or the words whose perplexity is compared"
        cause = f"changes {what}, so that it cannot tell the best cell"
        remedy = "make a sweep for each value, and compare the best of each with refrain compare --data TEXT"
        varied = [
            f"sweep.space.{name}"
            for name, values in self.space.values.items()
            if name in names and (isinstance(values, Range) or len(values) > 1)
        ]
        if varied:
            raise UserError(*(f"{self.path}:{line_of(name, lines)}: {name}: {cause}; {remedy}" for name in varied))

    @property
    def number(self) -> int:
        """The number of cells."""
        each = len(self._settings) if self.space.method != "optuna" else self.space.cells or 0
        return each * len(self.space.seeds or [None])

    @property
    def unit(self) -> str | None:
        """The setting `data.unit`, which is that of all cells; None for taggers."""
        return self.base.data.unit if isinstance(self.base, Experiment) else None

    def cell(self, number: int, settings: Mapping[str, Any] | None = None) -> Cell:
        """A cell.

        Args:
            number: its number, from 1.
            settings: what optuna has chosen; None for any other method.
        """
        given = self.settings(number, settings)
        if settings is not None:
            return Cell(number, given, self.resolved(given))
        experiment = self._experiments[(number - 1) % len(self._settings)]
        return Cell(number, given, amended(experiment, [{SEED: given[SEED]}]) if SEED in given else experiment)

    def settings(self, number: int, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What the sweep varies in a cell, with its seed.

        Args:
            number: as in `cell`.
            settings: as in `cell`.
        """
        assert 1 <= number <= self.number
        place, index = divmod(number - 1, len(self._settings) or self.number)
        given = dict(self._settings[index] if settings is None else settings)
        return given if self.space.seeds is None else {**given, SEED: self.space.seeds[place]}

    def experiments(self) -> list[AnyExperiment]:
        """The settings of each cell but for the seed; for optuna, some that have every value of a list."""
        return self._experiments

    def resolved(self, settings: Mapping[str, Any]) -> AnyExperiment:
        """All settings of the recipe with some of them changed.

        Args:
            settings: the changes, by dotted name.

        Raises:
            UserError: when a setting is unknown or a value is refused.
        """
        origins = Origins(settings=f"{self.path}: sweep.space")
        given: Any = {"corpus": self.corpus} if self.corpus is not None else {}
        if "data.corpus" in settings:
            given = {}
        found = resolve(str(self.path), [dict(settings)], self.recipes, origins=origins, **given)
        corpus = self._absolute(found.data.corpus)
        return found if corpus == found.data.corpus else amended(found, [{"data.corpus": corpus}])

    def text(self) -> str:
        """The file, where the path of another file that it extends is absolute, so that a copy can be read as well."""
        text, tree = read_toml(self.path)
        parent = tree["extends"]
        if not parent.endswith(".toml"):
            return text
        absolute = str((self.path.parent / parent).resolve())
        lines, line = text.split("\n"), lines_of(text).get("extends", 1)
        lines[line - 1] = f"extends = {quoted(absolute)}"
        copy = "\n".join(lines)
        # a name that is not UTF-8 cannot be written, and a value on several lines stays as it is
        with contextlib.suppress(ValueError):
            copy.encode()
            if tomllib.loads(copy) == {**tree, "extends": absolute}:
                return copy
        return text

    def recipe_text(self, experiment: AnyExperiment) -> str:
        """Settings as a TOML file that extends the recipe.

        Args:
            experiment: the settings.
        """
        below = recipe_below(str(self.path), self.recipes)
        return toml_beside(experiment, below, type(experiment)() if below is None else self.recipes[below]())

    @functools.cached_property
    def sha256(self) -> str:
        """Of everything that decides what the cells are, except for the seeds, to which others can be added.

        Settings count as far as they differ from their defaults, so that a later version with more settings can go on.
        """
        drawn: Any = [_apart_from_defaults(each) for each in self._experiments]
        if self.space.method == "optuna":
            ranges = {name: list(each) for name, each in self.space.values.items()}
            own = self.space._replace(values={}, seeds=None, minutes=None)
            drawn = [_apart_from_defaults(self.base), ranges, list(own)]
        return hashlib.sha256(dumps([self.space.method, drawn]).encode()).hexdigest()

    def _checked(self, settings: Sequence[Mapping[str, Any]]) -> list[AnyExperiment]:
        """The settings of each cell, and the mistakes of all cells at once."""
        found, mistakes = [], dict[str, None]()
        for each in settings:
            try:
                found.append(self.resolved(each))
            except UserError as error:
                mistakes |= dict.fromkeys(error.mistakes)
        if mistakes:
            raise UserError(*mistakes)
        return found

    def _named(self, work: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
        try:
            return work()
        except UserError as error:
            raise UserError(f"{self.path}: {error}") from None


def _apart_from_defaults(experiment: AnyExperiment) -> str:
    return toml_beside(experiment, None, type(experiment)())


def _ends(space: Space) -> Iterator[dict[str, Any]]:
    """Settings in which each value of a list, and both ends of each range, occur: what can be checked before a draw."""
    columns = {name: list(each[:2]) if isinstance(each, Range) else each for name, each in space.values.items()}
    for place in range(max(map(len, columns.values()))):
        yield {name: values[min(place, len(values) - 1)] for name, values in columns.items()}
