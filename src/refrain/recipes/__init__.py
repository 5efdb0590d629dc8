"""Recipes: one function a published result, which returns the experiment with every setting in it."""

import difflib
from collections.abc import Callable, Iterable

from refrain.config import Experiment, resolve
from refrain.errors import UserError

from .awd_lstm import awd_lstm_mos_ptb as awd_lstm_mos_ptb
from .awd_lstm import awd_lstm_ptb as awd_lstm_ptb
from .awd_lstm import awd_lstm_ptb_finetune as awd_lstm_ptb_finetune
from .awd_lstm import awd_lstm_wikitext2 as awd_lstm_wikitext2
from .quickstart import quickstart as quickstart
from .zaremba import zaremba_large as zaremba_large
from .zaremba import zaremba_medium as zaremba_medium
from .zaremba import zaremba_small as zaremba_small

RECIPES: dict[str, Callable[[], Experiment]] = {
    "quickstart": quickstart,
    "zaremba-small": zaremba_small,
    "zaremba-medium": zaremba_medium,
    "zaremba-large": zaremba_large,
    "awd-lstm-ptb": awd_lstm_ptb,
    "awd-lstm-ptb-finetune": awd_lstm_ptb_finetune,
    "awd-lstm-wikitext2": awd_lstm_wikitext2,
    "awd-lstm-mos-ptb": awd_lstm_mos_ptb,
}


def recipe(name: str, *settings: str, data: str | None = None) -> Experiment:
    """A built-in recipe or TOML file, with settings changed.

    Args:
        name: a key of `RECIPES`, or the path of a TOML file.
        settings: such as `training.epochs=3`.
        data: the corpus, in the place of the recipe's.

    Raises:
        UserError: with a line for every mistake.
    """
    words: Iterable[str] = settings
    return resolve(name, words, RECIPES, corpus=data)


def description(name: str) -> str:
    """The docstring of a recipe: what it is, the published figures and ours.

    Raises:
        UserError: when there is no such recipe.
    """
    if name not in RECIPES:
        close = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UserError(f"unknown recipe {name!r}{hint}; known: {', '.join(RECIPES)}")
    return "\n".join(line.strip() for line in (RECIPES[name].__doc__ or "").strip().splitlines())
