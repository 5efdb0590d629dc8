"""The settings of a cell as people read them."""

from json import dumps
from typing import Any


def label_of(settings: dict[str, Any]) -> str:
    """The settings of a cell as words of a command line.

    Args:
        settings: what the sweep varies, by dotted name.
    """
    words = [f"{name}={value if isinstance(value, str) else dumps(value)}" for name, value in settings.items()]
    return " ".join(words)
