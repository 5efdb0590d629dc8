"""The settings of a new run, and its file `recipe.toml`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refrain.config import AnyExperiment


def recipe_text(
    recipe: str | None, words: list[str], corpus: str | None, experiment: "AnyExperiment", *, as_typed: bool
) -> str:
    """The request as a TOML file that gives the same settings again: a recipe and what was typed, or what differs.

    Args:
        recipe: the name or file that was given; None for a run without one.
        words: the settings that were typed.
        corpus: the corpus that was given by itself.
        experiment: the settings of the run.
        as_typed: whether the recipe, if it is no file, and the words give these settings.
    """
    from refrain.config.loader import recipe_below
    from refrain.config.schema import as_set, as_toml, flatten, takes_text
    from refrain.config.toml_file import value_of
    from refrain.config.toml_text import quoted, toml_beside, toml_lines
    from refrain.recipes import RECIPES

    root = type(experiment)
    if not as_typed or recipe not in RECIPES:
        # a run has the name of its recipe, unless it was given another one
        below = recipe_below(recipe or experiment.name, RECIPES)
        base = root() if below is None else RECIPES[below]()
        return toml_beside(experiment, below, base) if type(base) is root else toml_beside(experiment, None, root())
    given = dict[str, Any]()
    for word in words:
        name, _, text = (part.strip() for part in word.partition("="))
        given[name] = value_of(text, as_text=takes_text(as_set(name, root), root))
    settings = {as_toml(as_set(name, root), root): value for name, value in flatten(given, root=root)}
    settings |= {"data.corpus": corpus} if corpus else {}
    return toml_lines(settings, [f"extends = {quoted(recipe)}"])


def resolved(
    recipe: str | None,
    words: Sequence[str],
    corpus: str | None,
    iss_json: str | None,
    start_from: Path | None,
    *,
    quiet: bool,
) -> "AnyExperiment":
    """The settings of a recipe, with the shape of the run that it starts from, or those of that run.

    Args:
        recipe: the name or file that was given; None for a run without one.
        words: the settings that were typed.
        corpus: the corpus that was given by itself.
        iss_json: a file of iss-rnns, or None.
        start_from: the run from which it starts, or None.
        quiet: whether nothing is printed.
    """
    from refrain.config import resolve
    from refrain.errors import UserError
    from refrain.recipes import RECIPES
    from refrain.runs.from_recipe import start_of

    from .output import log

    start = None if start_from is None else start_of(start_from)
    if start is None and recipe is None:
        raise UserError(f"{start_from}: its settings do not describe its network; give a recipe as well")
    reported = (lambda line: None) if quiet else log
    return resolve(recipe, words, RECIPES, corpus=corpus, iss_json=iss_json, start=start, log=reported)


def log_missing_start(recipe: str | None, what: str) -> None:
    """Print a note if a recipe continues from a trained run, where no run is given.

    Args:
        recipe: the name or file that was given; None for a run without one.
        what: what happens without a run.
    """
    from refrain.config.loader import recipe_below
    from refrain.recipes import RECIPES, SECOND_STAGES

    from .output import log

    if recipe is not None and recipe_below(recipe, RECIPES) in SECOND_STAGES:
        log(f"{recipe} is meant to continue from a trained run (--from RUN); {what}")
