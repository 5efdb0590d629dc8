"""The experiment of a recipe, with changed settings and perhaps the shape of a run from which it starts."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refrain.arguments import path_of
from refrain.config import AnyExperiment, resolve
from refrain.config.loader import Origins, Start
from refrain.errors import UserError, shown
from refrain.recipes import RECIPES

from .loading import find
from .own_names import own_name

ARGUMENTS = Origins("argument settings", "argument data", "argument iss_json")
"""How the messages of `recipe` name its arguments."""


def recipe(
    name: str | Path,
    *settings: str | Mapping[str, Any],
    data: str | Path | None = None,
    iss_json: str | Path | None = None,
    start_from: str | Path | None = None,
) -> AnyExperiment:
    """Build the experiment of a built-in recipe or a TOML file, with changed settings.

    What does not fit a change follows it, such as the `stop_window` of a recipe that is longer than the run now is; the
    logger `refrain` has a line about it at level INFO.

    Args:
        name: a key of `RECIPES`, or the path of a TOML file.
        settings: changes such as `"training.epochs=3"` or `{"training.epochs": 3}`, which override all other settings.
        data: the corpus, which replaces that of the recipe.
        iss_json: a JSON file of iss-rnns, whose settings override those of the recipe.
        start_from: a run whose shape replaces that of the recipe, to be given to `refrain.train` as well.

    Raises:
        UserError: when names or values are wrong; the message has a line for each mistake.
        CheckpointError: when `start_from` has no complete checkpoint.
    """
    if not isinstance(name, str | Path):
        raise UserError(f"recipe: must be the name of a recipe or the path of a TOML file (got {shown(name)})")
    for each in settings:
        if not isinstance(each, str | Mapping):
            raise UserError(
                "recipe: each setting is a text such as 'training.epochs=3', or a mapping such as "
                f"{{'training.epochs': 3}} (got {shown(each)})"
            )
    for argument, path, what in (("data", data, "the path or the name of a corpus"), ("iss_json", iss_json, "a file")):
        if path is not None:
            path_of(path, argument, what)
    corpus = None if data is None else str(data)
    given = None if iss_json is None else str(iss_json)
    start = None if start_from is None else start_of(start_from)
    log = logging.getLogger("refrain").info
    return resolve(str(name), settings, RECIPES, corpus=corpus, iss_json=given, start=start, origins=ARGUMENTS, log=log)


def start_of(run: str | Path) -> Start | None:
    """The run from which another one starts, for `refrain.config.resolve`; None for that of a network of the user.

    Args:
        run: the run folder.

    Raises:
        CheckpointError: when it has no complete checkpoint.
    """
    found = find(run)
    return None if own_name(found.document) is not None else Start(str(run), found.experiment)
