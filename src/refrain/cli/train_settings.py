"""The words of `refrain train` that are settings, and the options that are short forms of settings."""

import os
import shlex
from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING

from refrain.errors import shown

from .options import Errors

if TYPE_CHECKING:
    from refrain.config import AnyExperiment


def recipe_and_settings(
    command: str, recipe: str | None, settings: Sequence[str], *, data: str | None = None, resume: bool = False
) -> tuple[str | None, tuple[str, ...]]:
    """The recipe, which comes first where there is one, and the settings.

    Args:
        command: the command, for messages.
        recipe: the first word, if any.
        settings: the words after it.
        data: the corpus that is given by itself.
        resume: whether `--resume` is given.

    Raises:
        UserError: when a word is neither, and what was meant is known; other words are left to `resolve`.
    """
    from refrain.errors import UserError

    if recipe is not None and "=" in recipe:
        settings, recipe = (recipe, *settings), None
    words = [*settings] if recipe is None else [recipe, *settings]
    for place, word in enumerate(words):
        if "=" not in word:
            if resume and word == "auto":
                raise UserError("--resume auto: write --resume=auto, as one word")
            if meant := None if resume else _meant(command, words[:place], word, words[place + 1 :], data):
                raise UserError(meant)
    return recipe, tuple(settings)


def _meant(command: str, before: Sequence[str], word: str, after: Sequence[str], data: str | None) -> str | None:
    """What was meant with a word that is no setting, as a message; None where that is not known, or it is a recipe."""
    if not before and not os.path.exists(word):
        # as most recipes; their names need the settings of models
        return None
    from refrain.recipes import RECIPES

    if word in RECIPES or word.endswith(".toml"):
        if before and "=" in before[0]:
            return f"the recipe comes before the settings: {shlex.join(['refrain', command, word, *before, *after])}"
        return None
    if before and after and "=" not in after[0] and _is_setting(word):
        return f"{word} {after[0]}: a setting is one word: {shlex.quote(f'{word}={after[0]}')}"
    path = Path(word)
    if not os.path.exists(path) or (path / "config.json").exists() or (path / "checkpoints").exists():
        return None
    if data is not None:
        return f"{shown(word)}: --data takes one path; give a folder, or a pattern in quotes"
    what, recipe = ("setting", before[0]) if before else ("recipe", "RECIPE")
    return (
        f"{shown(word)} is a path, and no {what}; give a text with --data: refrain {command} {recipe} --data "
        f"{shlex.quote(word)}"
    )


def _is_setting(name: str) -> bool:
    from refrain.config import Experiment, TaggerExperiment
    from refrain.config.schema import setting_names

    return name in setting_names(Experiment) or name in setting_names(TaggerExperiment)


def with_options(
    settings: tuple[str, ...], errors: Errors | None, tokens: Path | None, skip_bad: bool, deterministic: bool
) -> list[str]:
    """Append the options that are short forms of settings.

    Args:
        settings: the settings as they were typed.
        errors: what to do at invalid UTF-8; None leaves it to the recipe.
        tokens: the file of a tokenizer, if given.
        skip_bad: whether damaged sentences are left out.
        deterministic: whether nothing is measured to choose backends and a precision.
    """
    words = list(settings)
    if errors:
        words.append(f'data.errors="{errors}"')
    if tokens is not None:
        words += ['data.unit="subword"', f"data.tokens={dumps(str(tokens), ensure_ascii=False)}"]
    if skip_bad:
        words.append("data.skip_bad=true")
    if deterministic:
        words.append("training.deterministic=true")
    return words


def with_folds(
    words: list[str], experiment: "AnyExperiment | None", folds: int | None, seeds: int | None
) -> "tuple[list[str], AnyExperiment | None]":
    """Append the setting for the folds of a cross-validation, and set it; without folds, nothing changes.

    Args:
        words: the settings.
        experiment: the resolved settings; None where those of a run are used.
        folds: the number of folds, if given.
        seeds: the number of seeds, if given.

    Raises:
        UserError: when the settings are not those of a tagger, there are too few folds, or seeds are given too.
    """
    from refrain.config import TaggerExperiment
    from refrain.config.loader import amended
    from refrain.errors import UserError

    if folds is None:
        return words, experiment
    if seeds is not None:
        raise UserError("--folds and --seeds exclude each other; training.seed=N sets the seed of all folds")
    if folds < 3:
        raise UserError(f"--folds must be at least 3 (got {folds}): one part for testing, one for validation")
    if experiment is None:
        return words, None
    if not isinstance(experiment, TaggerExperiment):
        raise UserError("--folds cannot take effect with a language model; it is for taggers, such as pos-default")
    setting = f"data.folds={folds}"
    return [*words, setting], amended(experiment, [setting])
