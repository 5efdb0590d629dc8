"""What a program that uses an exported model needs to know, as texts."""

import json
from pathlib import Path
from typing import Any, Protocol

import refrain
from refrain.storage.regular_files import read_regular

MOST_CARD_BYTES = 1_000_000


class _Vocabulary(Protocol):
    def document(self) -> dict[str, Any]: ...


def common_metadata(vocabulary: _Vocabulary, config: dict[str, Any], folder: Path, weights: str) -> dict[str, str]:
    """The metadata of every model; all but the version and the card are JSON.

    Args:
        vocabulary: of the model.
        config: the settings of the run.
        folder: the checkpoint folder, in whose run the card is.
        weights: of the exported model.
    """
    card = folder.parents[1] / "README.md"
    found = {
        "refrain_version": refrain.__version__,
        "vocabulary": json.dumps(vocabulary.document()),
        "weights": json.dumps(weights),
        "settings": json.dumps(config),
    }
    if card.is_file():
        found["card"] = read_regular(card, limit=MOST_CARD_BYTES).decode("utf-8", "replace")
    return found
