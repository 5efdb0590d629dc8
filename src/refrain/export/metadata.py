"""What a program that uses an exported model needs to know, as texts."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import refrain
from refrain.errors import UserError
from refrain.storage.regular_files import read_regular

MOST_CARD_BYTES = 1_000_000


class _Vocabulary(Protocol):
    def document(self) -> dict[str, Any]: ...


def common_metadata(vocabulary: _Vocabulary, config: dict[str, Any], folder: Path, weights: str) -> dict[str, str]:
    """The metadata of every model; all but the version and the card are JSON.

    Args:
        vocabulary: of the model.
        config: the settings of the run.
        folder: the checkpoint folder; the card is that of its run, and a copy outside a run has none.
        weights: of the exported model.
    """
    folder = folder.resolve()
    card = folder.parents[1] / "README.md" if folder.parent.name == "checkpoints" else None
    found = {
        "refrain_version": refrain.__version__,
        "vocabulary": json.dumps(vocabulary.document()),
        "weights": json.dumps(weights),
        "settings": json.dumps(config),
    }
    if card is not None and card.is_file():
        found["card"] = read_regular(card, limit=MOST_CARD_BYTES).decode("utf-8", "replace")
    return found


def joined(given: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """The metadata that a program gives, and beside it what the export makes.

    Args:
        given: of the program.
        own: of the export.

    Raises:
        UserError: when the program gives a name that the export has itself.
    """
    for name in given.keys() & own.keys():
        raise UserError(f"options.metadata: {name} is a name of the export itself; choose another name")
    return {**given, **own}
