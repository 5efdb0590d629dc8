"""Data settings -> corpus."""

import difflib
import os
from collections.abc import Callable
from pathlib import Path

from refrain.config import Data
from refrain.data import (
    Corpus,
    WordVocabulary,
    embedded_folder,
    find_byte_splits,
    find_splits,
    open_byte_corpus,
    open_word_corpus,
)
from refrain.data.embedded import DESCRIPTIONS
from refrain.data.known import KNOWN, fetched_path
from refrain.data.shards import is_pattern, names_splits, one_text
from refrain.data.splits import SPLITS
from refrain.data.text import Spans, whole
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
        close = difflib.get_close_matches(corpus, names, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise DataError(f"{corpus}: no such file or folder; {hint}known corpora: {', '.join(names)}")
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
    if data.split != Data().split and _names_splits(data, path):
        raise UserError(f"data.split: cannot take effect, {path} holds a file for each split; leave data.split out")
    return _open(data, path.name, _find(data, path, SPLITS, say), None, say)


def build_text(
    data: Data, path: Path, split: str | None, vocabulary: WordVocabulary | None, say: Callable[[str], None] = quiet
) -> tuple[Corpus, str]:
    """Other text for a model that has its vocabulary already.

    Args:
        data: the model's data settings.
        path: a folder of splits, or a file; of bytes also a pattern or any other folder.
        split: which split; None takes `test` of a folder of splits and all of anything else.
        vocabulary: the model's words; None for a byte model.
        say: is told what takes time.

    Returns:
        A corpus, and the name of the split in it.
    """
    if split is not None or _names_splits(data, path):
        split = split or "test"
        spans = _find(data, path, (split,), say)
    else:
        split, spans = "all", {"all": one_text(path, say) if data.unit == "byte" else whole(path)}
    return _open(data, path.name, spans, vocabulary, say), split


def _names_splits(data: Data, path: Path) -> bool:
    return names_splits(path) if data.unit == "byte" else path.is_dir()


def _find(data: Data, path: Path, wanted: tuple[str, ...], say: Callable[[str], None]) -> dict[str, Spans]:
    if data.unit == "word":
        if is_pattern(str(path)):
            raise DataError(f"{path}: a pattern is read as bytes alone; set data.unit=byte, or give a folder or file")
        return find_splits(path, shares=data.split, wanted=wanted)
    # documents, which are lines, stay whole
    return find_byte_splits(path, shares=data.split, between_lines=data.cleaning != "none", wanted=wanted, say=say)


def _open(
    data: Data, name: str, spans: dict[str, Spans], vocabulary: WordVocabulary | None, say: Callable[[str], None]
) -> Corpus:
    if data.unit == "byte":
        return open_byte_corpus(name, spans, cleaning=data.cleaning, say=say)
    return open_word_corpus(
        name,
        spans,
        vocabulary=vocabulary,
        order=data.order,
        order_seed=1 if data.order_seed is None else data.order_seed,
        min_count=data.min_count,
        max_words=data.max_words,
        vocabulary_from=data.vocabulary_from,
        errors=data.errors,
        say=say,
    )
