"""Where the library keeps what it can make again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Where prepared corpora and compiled kernels are kept: $REFRAIN_CACHE, or `refrain` in the user's cache folder."""
    if chosen := os.environ.get("REFRAIN_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "refrain"
