"""What `--data` names, as a run keeps it."""

import glob
import os
from pathlib import Path


def as_kept(data: str | None) -> str | None:
    """A path or pattern made absolute, so that the run finds it from any folder; the name of a corpus as it is."""
    return str(Path(data).resolve()) if data and (os.path.exists(data) or glob.has_magic(data)) else data
