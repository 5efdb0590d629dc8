"""The options of `refrain train` that are short forms of settings."""

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING

from .options import Errors

if TYPE_CHECKING:
    from refrain.config import AnyExperiment


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
