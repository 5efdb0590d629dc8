"""The value of `--data` as a run records it."""

import glob
import os
from pathlib import Path


def resolved_corpus(data: str | None) -> str | None:
    """Make a path or pattern absolute, so that the run finds it from any folder. The name of a corpus is unchanged."""
    # the path of a pipe, such as /dev/fd/63, leads to nothing once it is resolved
    found = data and (os.path.isfile(data) or os.path.isdir(data) or glob.has_magic(data))
    return str(Path(data).resolve()) if data and found else data
