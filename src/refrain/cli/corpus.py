"""The value of `--data` as a run records it."""

import glob
import os
from pathlib import Path


def resolved_corpus(data: str | None) -> str | None:
    """Make a path or pattern absolute, so that the run finds it from any folder. The name of a corpus is unchanged."""
    return str(Path(data).resolve()) if data and (os.path.exists(data) or glob.has_magic(data)) else data
