"""The settings that a run must share with another one to start from its weights."""

from typing import Any

from pydantic import BaseModel

from .experiment import Experiment
from .schema import groups, settings_of

SHAPE = (
    "model.cell",
    "model.embedding",
    "model.embedding_size",
    "model.hidden_sizes",
    "model.head",
    "model.tied",
    "model.weight_norm",
    "model.projection_size",
    "model.skip_connection",
)
"""Settings, and groups of them, which the shapes of weights depend on."""

NOT_VOCABULARY = (
    "data.corpus",
    "data.split",
    "data.cleaning",
    "data.errors",
    "data.skip_bad",
    "data.max_tokens",
)
"""The settings of `data` that the vocabulary of a text does not depend on."""


def shape_of(experiment: BaseModel, base: BaseModel) -> dict[str, Any]:
    """The settings of a run that its weights and its vocabulary depend on, where a recipe has others.

    Args:
        experiment: the settings of the run.
        base: the recipe, of the same class.

    Returns:
        The values by dotted name.
    """
    known = groups(type(base))
    own, other = settings_of(experiment), settings_of(base)
    variants = tuple(f"{name}." for name in known if own.get(name) != other.get(name))
    return {
        name: value
        for name, value in own.items()
        if _belongs(name) and (other.get(name) != value or (name.startswith(variants) and value is not None))
    }


def keeps_vocabulary(experiment: Experiment) -> bool:
    """Whether a run that starts from another one has its vocabulary, whatever the text.

    Pieces of words cannot be exchanged for others, and a fixed vocabulary stays fixed.

    Args:
        experiment: the settings of the run to start from.
    """
    return experiment.data.takes_effect("pieces") or experiment.data.vocabulary is not None


def _belongs(name: str) -> bool:
    if name.startswith("data."):
        return name not in NOT_VOCABULARY
    # dropout is of the recipe
    return name != "model.head.latent_dropout" and any(name == each or name.startswith(f"{each}.") for each in SHAPE)
