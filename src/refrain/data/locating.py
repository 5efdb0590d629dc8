"""Finds the text that the name, the path or the pattern of a corpus leads to. Imports no numpy and no settings."""

import os
from collections.abc import Callable
from pathlib import Path

from refrain.errors import DataError, nearest, shortened
from refrain.storage.folders import cache_folder

from .embedded import DESCRIPTIONS, embedded_folder
from .known import KNOWN, fetched_path
from .text.shards import is_pattern

NO_CORPUS = "(imported)"
"""The corpus of a model from elsewhere whose text is not known."""


def check_still_there(corpus: str, run: Path, remedy: str = "") -> None:
    """Check that the text on which a run was trained has not been moved.

    Args:
        corpus: the setting `data.corpus` of the run.
        run: the run, for the message.
        remedy: what to do besides putting the text back, for the message.

    Raises:
        DataError: when it is a path to which nothing is there.
    """
    if corpus in (NO_CORPUS, *DESCRIPTIONS, *KNOWN) or is_pattern(corpus) or os.path.exists(corpus):
        return
    raise DataError(
        f"{shortened(corpus, 300)}: the text on which {run} was trained is no longer here; put it back here, or a link "
        f"to where it is now{remedy}"
    )


def locate(corpus: str, log: Callable[[str], None] = lambda line: None) -> Path:
    """Find the folder, file or pattern of a corpus.

    Args:
        corpus: the name of an embedded or fetched corpus, a path or a pattern.
        log: called with a line of text when an embedded corpus is read for the first time.

    Raises:
        DataError: when the corpus does not exist; the message names the remedy.
    """
    path = Path(corpus)
    if corpus == NO_CORPUS:
        raise DataError("the text on which this imported model was trained is not known; give a text with --data")
    if corpus in DESCRIPTIONS:
        if not (cache_folder() / "embedded").is_dir() or not list((cache_folder() / "embedded").glob(f"{corpus}-*")):
            log(f"reading {corpus} from the running Python (once, some ten seconds)")
        return embedded_folder(corpus)
    if corpus in KNOWN:
        if fetched_path(corpus).exists():
            return fetched_path(corpus)
        if not os.path.exists(path):
            raise DataError(
                f"the corpus {corpus!r} has not been fetched; give its folder with --data PATH/TO/{corpus}, "
                f"or get it with: refrain data fetch {corpus}"
            )
    # unlike Path.exists, os.path.exists is False for a name that is too long
    if not os.path.exists(path) and not is_pattern(corpus):
        names = [*DESCRIPTIONS, *KNOWN]
        place = shortened(corpus, 300)
        raise DataError(f"{place}: no such file or folder{nearest(corpus, names)}; known corpora: {', '.join(names)}")
    return path
