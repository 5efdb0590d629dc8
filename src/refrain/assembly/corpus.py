"""Builds corpora from data settings."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from refrain.config import Data, TaggedData
from refrain.data import UNITS, Corpus, TextOptions, TokenSource, Vocabulary
from refrain.data.locating import locate as locate
from refrain.data.text.files import Spans
from refrain.data.text.oddities import count_replaced
from refrain.data.text.splits import SPLITS
from refrain.errors import UserError, quantity

from .fixed_vocabulary import fixed_vocabulary


def quiet(line: str) -> None:
    """A `log` callback that discards the line."""


def build_corpus(data: Data, log: Callable[[str], None] = quiet) -> Corpus:
    """Build the corpus of a run: its splits and their vocabulary.

    Args:
        data: the data settings.
        log: called with a line of text before steps that take long.

    Raises:
        DataError: when the text is missing, empty or damaged, or the vocabulary of `data.vocabulary` is.
        UserError: when `data.split` is set for a folder of splits.
    """
    path, texts = find_texts(data, log)
    fixed = fixed_vocabulary(data, _options(data))
    corpus = UNITS[data.unit].open(path.name, texts, replace(_options(data), fixed=fixed), None, log)
    log_replaced(data, texts, log)
    return corpus


def log_replaced(data: Data | TaggedData, texts: Mapping[str, Spans], log: Callable[[str], None]) -> None:
    """Log how often U+FFFD is read in place of invalid UTF-8 in the text of each split, where that is not an error.

    Args:
        data: the data settings.
        texts: the text of each split; a text of several splits is counted once.
        log: called with a line of text for each split that has some.
    """
    if data.errors != "replace":
        return
    counts: dict[Spans, int] = {}
    for name, spans in texts.items():
        if spans not in counts and (count := counts.setdefault(spans, count_replaced(spans))):
            log(f"{name}: reads {quantity(count, 'invalid sequence')} of bytes as U+FFFD, with errors=replace")


def find_texts(data: Data, log: Callable[[str], None] = quiet) -> tuple[Path, dict[str, Spans]]:
    """Find the text of each split of a corpus.

    Args:
        data: the data settings.
        log: called with a line of text before steps that take long.

    Returns:
        The folder, file or pattern of the corpus, and the text of each split.

    Raises:
        DataError: when the text is missing or empty.
        UserError: when `data.split` is set for a folder of splits.
    """
    path = locate(data.corpus, log)
    unit = UNITS[data.unit]
    if data.split != Data().split and unit.names_splits(path):
        raise UserError(
            f"data.split: cannot take effect, because {path} has a file for each split; leave data.split out"
        )
    return path, unit.find_splits(path, _options(data), SPLITS, log)


def build_text(
    data: Data, path: Path, split: str | None, vocabulary: Vocabulary, log: Callable[[str], None] = quiet
) -> tuple[Corpus, str]:
    """Encode text with the vocabulary of a trained model.

    Args:
        data: the data settings of the model.
        path: a folder of splits or a file; for bytes also a pattern or any other folder.
        split: the split; None is `test` for a folder of splits, and the whole text otherwise.
        vocabulary: the vocabulary of the model.
        log: called with a line of text before steps that take long.

    Returns:
        A corpus with one split, and the name of the split.
    """
    unit = UNITS[data.unit]
    options = _options(data)
    if split is not None or unit.names_splits(path):
        split = split or "test"
        texts = unit.find_splits(path, options, (split,), log)
    else:
        split = "all"
        texts = {split: unit.find_all(path, log)}
    corpus = unit.open(path.name, texts, options, vocabulary, log)
    log_replaced(data, texts, log)
    return corpus, split


def own_split(data: Data, vocabulary: Vocabulary, split: str, log: Callable[[str], None] = quiet) -> TokenSource:
    """A split of the corpus that a model was trained on.

    Args:
        data: the data settings of the model.
        vocabulary: the vocabulary of the model.
        split: the split.
        log: called with a line of text before steps that take long.

    Raises:
        DataError: when the corpus or its split is missing.
    """
    corpus, _ = build_text(data, locate(data.corpus, log), split, vocabulary, log)
    return corpus.splits[split].tokens


def check_vocabulary(data: Data) -> None:
    """Check that the vocabulary of `data.vocabulary` can be read.

    Args:
        data: the data settings.

    Raises:
        DataError: when it cannot.
        CheckpointError: when the checkpoint with it is damaged.
    """
    fixed_vocabulary(data, _options(data))


def _options(data: Data) -> TextOptions:
    return TextOptions(**data.model_dump(exclude={"corpus", "unit", "vocabulary"}))
