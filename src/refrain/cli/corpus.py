"""The value of `--data` as a run records it, and the text that it names."""

import os
from pathlib import Path


def resolved_corpus(data: str | None) -> str | None:
    """Make a path or pattern absolute, so that the run finds it from any folder. The name of a corpus is unchanged.

    Raises:
        DataError: as `check_corpus` does.
    """
    from refrain.data.text.shards import is_pattern

    check_corpus(data)
    # the path of a pipe, such as /dev/fd/63, leads to nothing once it is resolved
    found = data and (os.path.isfile(data) or os.path.isdir(data) or is_pattern(data))
    return str(Path(data).resolve()) if data and found else data


def check_corpus(data: str | None) -> None:
    """Check that a corpus is there, before settings and torch are imported.

    Args:
        data: the value of `--data`; None is not looked for. The texts of the running Python are always there.

    Raises:
        DataError: when it is neither a known corpus that was fetched, nor a path, nor a pattern.
    """
    from refrain.data.embedded import DESCRIPTIONS
    from refrain.data.locating import locate

    if data is not None and data not in DESCRIPTIONS:
        locate(data)


def corpus_inputs(corpus: str | Path) -> list[str | Path]:
    """Return where the text of a corpus is, so that a command does not write there: a path, a pattern or nothing.

    Args:
        corpus: a path, a pattern, or the name of a corpus, which is in the cache if it has been fetched.
    """
    from refrain.data.known import KNOWN, fetched_folder

    return [corpus, *([fetched_folder(str(corpus))] if str(corpus) in KNOWN else [])]
