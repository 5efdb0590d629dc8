"""Recipes: functions that return the experiment of a published result, with all settings."""

from collections.abc import Callable
from typing import Any

from refrain.config import AnyExperiment
from refrain.config.loader import unknown_recipe
from refrain.errors import UserError

from .awd_lstm import awd_lstm_mos_ptb as awd_lstm_mos_ptb
from .awd_lstm import awd_lstm_ptb as awd_lstm_ptb
from .awd_lstm import awd_lstm_ptb_finetune as awd_lstm_ptb_finetune
from .awd_lstm import awd_lstm_wikitext2 as awd_lstm_wikitext2
from .byte_mlstm import char_lstm as char_lstm
from .byte_mlstm import mlstm_bytes as mlstm_bytes
from .byte_mlstm import mlstm_bytes_reference as mlstm_bytes_reference
from .byte_mlstm import mlstm_enwik8 as mlstm_enwik8
from .byte_mlstm import mlstm_reviews as mlstm_reviews
from .byte_mlstm import mlstm_small as mlstm_small
from .byte_mlstm import mlstm_text8 as mlstm_text8
from .iss import awd_lstm_ptb_iss as awd_lstm_ptb_iss
from .iss import zaremba_large_373_315 as zaremba_large_373_315
from .iss import zaremba_large_iss as zaremba_large_iss
from .iss import zaremba_large_l1 as zaremba_large_l1
from .iss import zaremba_medium_iss as zaremba_medium_iss
from .iss import zaremba_small_iss as zaremba_small_iss
from .pos import pos_default as pos_default
from .pos import pos_dense as pos_dense
from .pos import pos_sparse as pos_sparse
from .pos import pos_sparse_descending as pos_sparse_descending
from .quickstart import quickstart as quickstart
from .sparse import recite_dense as recite_dense
from .sparse import recite_dense_reduced as recite_dense_reduced
from .sparse import recite_sparse1 as recite_sparse1
from .sparse import recite_sparse2 as recite_sparse2
from .sparse import sparse_awd_ptb as sparse_awd_ptb
from .sparse import sparse_awd_ptb_finetune as sparse_awd_ptb_finetune
from .zaremba import zaremba_large as zaremba_large
from .zaremba import zaremba_medium as zaremba_medium
from .zaremba import zaremba_small as zaremba_small

RECIPES: dict[str, Callable[[], AnyExperiment]] = {
    "quickstart": quickstart,
    "zaremba-small": zaremba_small,
    "zaremba-medium": zaremba_medium,
    "zaremba-large": zaremba_large,
    "awd-lstm-ptb": awd_lstm_ptb,
    "awd-lstm-ptb-finetune": awd_lstm_ptb_finetune,
    "awd-lstm-wikitext2": awd_lstm_wikitext2,
    "awd-lstm-mos-ptb": awd_lstm_mos_ptb,
    "zaremba-small-iss": zaremba_small_iss,
    "zaremba-medium-iss": zaremba_medium_iss,
    "zaremba-large-l1": zaremba_large_l1,
    "zaremba-large-iss": zaremba_large_iss,
    "zaremba-large-373-315": zaremba_large_373_315,
    "awd-lstm-ptb-iss": awd_lstm_ptb_iss,
    "sparse-awd-ptb": sparse_awd_ptb,
    "sparse-awd-ptb-finetune": sparse_awd_ptb_finetune,
    "recite-dense": recite_dense,
    "recite-dense-reduced": recite_dense_reduced,
    "recite-sparse1": recite_sparse1,
    "recite-sparse2": recite_sparse2,
    "mlstm-bytes": mlstm_bytes,
    "mlstm-bytes-reference": mlstm_bytes_reference,
    "mlstm-small": mlstm_small,
    "mlstm-enwik8": mlstm_enwik8,
    "mlstm-text8": mlstm_text8,
    "mlstm-reviews": mlstm_reviews,
    "char-lstm": char_lstm,
    "pos-default": pos_default,
    "pos-dense": pos_dense,
    "pos-sparse": pos_sparse,
    "pos-sparse-descending": pos_sparse_descending,
}

SECOND_STAGES = (
    "awd-lstm-ptb-finetune",
    "zaremba-small-iss",
    "zaremba-medium-iss",
    "zaremba-large-l1",
    "sparse-awd-ptb-finetune",
)
"""Recipes that continue from the weights of a trained run."""


def description(name: str) -> str:
    """The docstring of a recipe: a description, the published results and ours.

    Raises:
        UserError: when the recipe does not exist.
    """
    if name not in RECIPES:
        raise UserError(unknown_recipe(name, RECIPES))
    return "\n".join(line.strip() for line in (RECIPES[name].__doc__ or "").strip().splitlines())


def __getattr__(name: str) -> Any:
    if name != "recipe":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # programs import it from here, although it reads runs and is now defined where they are
    import refrain

    return refrain.recipe
