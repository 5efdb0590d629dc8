"""The folder of files that the library can make again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder of encoded corpora and compiled kernels: $REFRAIN_CACHE, or `refrain` in the user's cache."""
    if chosen := os.environ.get("REFRAIN_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "refrain"
