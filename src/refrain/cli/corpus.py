"""The value of `--data` as a run records it, and the text that it names."""

import os
from pathlib import Path


def resolved_corpus(data: str | None) -> str | None:
    """Make a path or pattern absolute, so that the run finds it from any folder. The name of a corpus is unchanged."""
    from refrain.data.text.shards import is_pattern

    # the path of a pipe, such as /dev/fd/63, leads to nothing once it is resolved
    found = data and (os.path.isfile(data) or os.path.isdir(data) or is_pattern(data))
    return str(Path(data).resolve()) if data and found else data


def corpus_inputs(corpus: str | Path) -> list[str | Path]:
    """Return where the text of a corpus is, so that a command does not write there: a path, a pattern or nothing.

    Args:
        corpus: a path, a pattern, or the name of a corpus, which is in the cache if it has been fetched.
    """
    from refrain.data.known import KNOWN, fetched_folder

    return [corpus, *([fetched_folder(str(corpus))] if str(corpus) in KNOWN else [])]
