"""Data settings -> corpus."""

import difflib
import os
from collections.abc import Callable
from pathlib import Path

from refrain.config import Data
from refrain.data import Corpus, WordVocabulary, embedded_folder, find_splits, open_byte_corpus, open_word_corpus
from refrain.data.corpus import cache_folder
from refrain.data.embedded import DESCRIPTIONS
from refrain.data.known import KNOWN, fetched_path
from refrain.data.text import Span, whole
from refrain.errors import DataError


def quiet(line: str) -> None:
    """Says nothing."""


def locate(corpus: str, say: Callable[[str], None] = quiet) -> Path:
    """The folder or file of a corpus that was named or pointed at.

    Args:
        corpus: an embedded corpus, one that was fetched, or a path.
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
    if not os.path.exists(path):
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
    """
    path = locate(data.corpus, say)
    spans = find_splits(path, by_line=data.unit == "word")
    return _open(data, path.name, spans, None, say)


def build_text(
    data: Data, path: Path, split: str | None, vocabulary: WordVocabulary | None, say: Callable[[str], None] = quiet
) -> tuple[Corpus, str]:
    """Other text for a model that has its vocabulary already.

    Args:
        data: the model's data settings.
        path: a folder of splits, or a file.
        split: which split; None takes `test` of a folder and all of a file.
        vocabulary: the model's words; None for a byte model.
        say: is told what takes time.

    Returns:
        A corpus, and the name of the split in it.
    """
    if path.is_dir() or split is not None:
        split = split or "test"
        spans = find_splits(path, by_line=data.unit == "word", wanted=(split,))
    else:
        split, spans = "all", {"all": whole(path)}
    return _open(data, path.name, spans, vocabulary, say), split


def _open(
    data: Data, name: str, spans: dict[str, Span], vocabulary: WordVocabulary | None, say: Callable[[str], None]
) -> Corpus:
    if data.unit == "byte":
        return open_byte_corpus(name, spans)
    return open_word_corpus(
        name,
        spans,
        vocabulary=vocabulary,
        order=data.order,
        min_count=data.min_count,
        max_words=data.max_words,
        vocabulary_from=data.vocabulary_from,
        errors=data.errors,
        say=say,
    )
