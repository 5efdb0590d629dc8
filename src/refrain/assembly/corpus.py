"""Data settings -> corpus."""

import os
from collections.abc import Callable
from pathlib import Path

from refrain.config import Data
from refrain.config.mistakes import nearest
from refrain.data import UNITS, Corpus, TextOptions, Vocabulary, embedded_folder
from refrain.data.embedded import DESCRIPTIONS
from refrain.data.known import KNOWN, fetched_path
from refrain.data.text.shards import is_pattern
from refrain.data.text.splits import SPLITS
from refrain.errors import DataError, UserError
from refrain.storage.folders import cache_folder


def quiet(line: str) -> None:
    """Says nothing."""


def locate(corpus: str, say: Callable[[str], None] = quiet) -> Path:
    """The folder, file or pattern of a corpus that was named or pointed at.

    Args:
        corpus: an embedded corpus, one that was fetched, a path or a pattern.
        say: is told when an embedded corpus is read for the first time.

    Raises:
        DataError: when there is no such thing; says what to do.
    """
    path = Path(corpus)
    if corpus in DESCRIPTIONS:
        if not (cache_folder() / "embedded").is_dir() or not list((cache_folder() / "embedded").glob(f"{corpus}-*")):
            say(f"reading {corpus} from the running Python (once, some ten seconds)")
        return embedded_folder(corpus)
    if corpus in KNOWN:
        if fetched_path(corpus).exists():
            return fetched_path(corpus)
        if not os.path.exists(path):
            raise DataError(
                f"the corpus {corpus!r} is not here; give its folder with --data PATH/TO/{corpus}, "
                f"or get it with: refrain data fetch {corpus}"
            )
    # unlike Path.exists, this takes a name that is too long for one that is not there
    if not os.path.exists(path) and not is_pattern(corpus):
        names = [*DESCRIPTIONS, *KNOWN]
        raise DataError(f"{corpus}: no such file or folder{nearest(corpus, names)}; known corpora: {', '.join(names)}")
    return path


def build_corpus(data: Data, say: Callable[[str], None] = quiet) -> Corpus:
    """The corpus of a run: its splits, and a vocabulary made from them.

    Args:
        data: the settings.
        say: is told what takes time.

    Raises:
        DataError: when text is missing, empty or broken.
        UserError: when the shares of the splits are set for a folder of splits.
    """
    path = locate(data.corpus, say)
    unit = UNITS[data.unit]
    if data.split != Data().split and unit.names_splits(path):
        raise UserError(f"data.split: cannot take effect, {path} holds a file for each split; leave data.split out")
    options = _options(data)
    return unit.open(path.name, unit.find_splits(path, options, SPLITS, say), options, None, say)


def build_text(
    data: Data, path: Path, split: str | None, vocabulary: Vocabulary, say: Callable[[str], None] = quiet
) -> tuple[Corpus, str]:
    """Other text for a model that has its vocabulary already.

    Args:
        data: the model's data settings.
        path: a folder of splits, or a file; of bytes also a pattern or any other folder.
        split: which split; None takes `test` of a folder of splits and all of anything else.
        vocabulary: of the model.
        say: is called with what takes time.

    Returns:
        A corpus, and the name of the split in it.
    """
    unit = UNITS[data.unit]
    options = _options(data)
    if split is not None or unit.names_splits(path):
        split = split or "test"
        texts = unit.find_splits(path, options, (split,), say)
    else:
        split = "all"
        texts = {split: unit.find_all(path, say)}
    return unit.open(path.name, texts, options, vocabulary, say), split


def _options(data: Data) -> TextOptions:
    return TextOptions(**data.model_dump(exclude={"corpus", "unit"}))
