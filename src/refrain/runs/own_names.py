"""The names of a network given by the user in the `config.json` of its run, and whether the network is needed."""

from pathlib import Path
from typing import Any

from refrain.errors import CheckpointError

MARK = "network"
"""The key of `config.json` with the class name of the network, beside the settings."""


def own_name(document: Any) -> str | None:
    """The names in a `config.json` as text, or None if the model was built from settings.

    Args:
        document: the content of `config.json`.
    """
    names = document.get(MARK) if isinstance(document, dict) else None
    if not isinstance(names, dict):
        return None
    return f"{names.get('class')} made by {names['function']}" if "function" in names else str(names.get("class"))


def check_given(document: Any, given: object | None, path: Path) -> None:
    """Check that a network is given if, and only if, the run has trained a network given by the user.

    Args:
        document: the content of `config.json` of the run or of a checkpoint.
        given: the network or function given by the user, or None.
        path: the run folder, for the message.

    Raises:
        CheckpointError: when a network is missing or not needed; the message names the trained class.
    """
    name = own_name(document)
    if name is not None and given is None:
        raise CheckpointError(
            f"{path}: has trained a network of the user's own, {name}; in Python, give it as model= to refrain.load or "
            "refrain.resume"
        )
    if name is None and given is not None:
        raise CheckpointError(f"{path}: has a model that is built from settings; leave out model=")
