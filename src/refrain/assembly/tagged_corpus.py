"""Builds tagged corpora from data settings."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from refrain.config import TaggedData
from refrain.data import TaggedCorpus, TaggedSplit, TagVocabulary, find_tagged, read_tagged
from refrain.data.tagged.conllu import tag_column
from refrain.data.tagged.corpus import against, counts_of, fold_of, split_tagged
from refrain.data.tagged.folders import find_any
from refrain.data.tagged.vocabulary import FeatureKinds, build_tag_vocabulary
from refrain.data.text.splits import SPLITS
from refrain.errors import DataError, UserError, quantity
from refrain.storage.plain_text import visible

from .corpus import locate, log_replaced, quiet

# universaldependencies.org/u/pos
UNIVERSAL = {
    "ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN", "PUNCT", "SCONJ", "SYM",
    "VERB", "X",
}  # fmt: skip
# the largest number of bad sentences that are listed
LISTED = 20


def build_tagged_corpus(
    data: TaggedData, unknown_rate: float = 0.0, log: Callable[[str], None] = quiet
) -> TaggedCorpus:
    """Build the tagged corpus of a run: its splits and the vocabulary of the training text.

    Args:
        data: the data settings.
        unknown_rate: the setting `training.unknown_rate`, by which words are read as `<unk>` in training. It determines
            the count of `<unk>`, and so its rank among the words.
        log: called with lines of text about sentences that are left out.

    Raises:
        DataError: when sentences are missing or bad.
        UserError: when `data.split` is set for a folder of splits or with `data.folds`.
    """
    path = locate(data.corpus, log)
    splits = _splits(data, path, log)
    log_replaced(data, {name: split.source for name, split in splits.items()}, log)
    words, tags = counts_of(splits["train"])
    if not tags:
        raise DataError(f"{path}: every training word has _ in place of a tag; choose another data.column")
    vocabulary = build_tag_vocabulary(
        words,
        tags,
        order=data.order,
        order_seed=1 if data.order_seed is None else data.order_seed,
        ties=data.ties,
        min_count=data.min_count,
        kinds=FeatureKinds(data.lower_case, data.prefixes, data.suffixes, data.shapes),
        feature_min_count=data.feature_min_count,
        unknown_count=round(sum(count * unknown_probability(count, unknown_rate) for count in words.values())),
        column="upos" if data.column == "auto" and splits["train"].format.startswith("CoNLL-U") else None,
    )
    splits = {name: against(split, vocabulary) for name, split in splits.items()}
    for name, split in splits.items():
        log_notes(name, split, log)
    return TaggedCorpus(path.name, vocabulary, splits)


def _splits(data: TaggedData, path: Path, log: Callable[[str], None]) -> dict[str, TaggedSplit]:
    if data.split != TaggedData().split and (data.folds or path.is_dir()):
        reason = "data.folds is given" if data.folds else f"{path} has a file for each split"
        raise UserError(f"data.split: cannot take effect, because {reason}; leave data.split out")
    if data.folds:
        return _fold(data, path, log)
    if path.is_dir():
        return {name: _read(data, files) for name, files in find_tagged(path, log=log).items()}
    return split_tagged(_read(data, path), data.split)


def _fold(
    data: TaggedData, path: Path, log: Callable[[str], None] = quiet, *, can_skip: bool = True
) -> dict[str, TaggedSplit]:
    assert data.folds is not None
    files = [file for part in find_any(path, log).values() for file in part] if path.is_dir() else path
    seed = 1 if data.fold_seed is None else data.fold_seed
    return fold_of(_read(data, files, can_skip=can_skip), data.folds, data.fold, seed)


def read_parts(data: TaggedData, log: Callable[[str], None] = quiet) -> tuple[str, dict[str, TaggedSplit]]:
    """Read the sentences of a corpus as they are, to look them over.

    Args:
        data: the data settings.
        log: called with lines of text about files that are joined.

    Returns:
        The name of the corpus, and the splits that it has; a file of too few sentences is one split, `all`.

    Raises:
        DataError: when no sentence can be read.
    """
    path = locate(data.corpus, log)
    if path.is_dir():
        parts = {name: _read(data, files) for name, files in find_any(path, log).items()}
        log_replaced(data, {name: part.source for name, part in parts.items()}, log)
        return path.name, parts
    found = _read(data, path)
    log_replaced(data, {"all": found.source}, log)
    return path.name, split_tagged(found, data.split) if found.lines > len(SPLITS) else {"all": found}


def build_tagged_text(
    data: TaggedData, path: Path, split: str | None, vocabulary: TagVocabulary, *, can_skip: bool = True
) -> TaggedCorpus:
    """Read sentences for a trained tagger with its vocabulary.

    Args:
        data: the data settings of the tagger.
        path: a folder of splits or a file.
        split: the split; None is `test` for a folder of splits, and the whole file otherwise.
        vocabulary: the vocabulary of the tagger.
        can_skip: whether the user can ask for bad sentences to be left out.

    Where `data.column` is `auto` and no word has a tag in the column that this reads, XPOS is read, which is where
    `refrain tag` writes tags that are not universal ones; where it is the number of a column and the text is CoNLL-U,
    the column to which the tagger writes is read.

    Returns:
        A corpus with one split, which is named `all` for a whole file.

    Raises:
        DataError: when sentences are missing or bad.
    """
    try:
        name, found = _text(data, path, split, can_skip=can_skip)
    except DataError:
        if not data.column.isdecimal() and data.word_column == "auto":
            raise
        # what `refrain tag` writes has no numbered columns
        with contextlib.suppress(DataError, UserError):
            other = data.model_copy(update={"column": column_of("auto", vocabulary), "word_column": "auto"})
            return build_tagged_text(other, path, split, vocabulary, can_skip=can_skip)
        raise
    if not found.tags and data.column == "auto":
        with contextlib.suppress(DataError, UserError):
            other = data.model_copy(update={"column": "xpos"})
            return build_tagged_text(other, path, split, vocabulary, can_skip=can_skip)
    return TaggedCorpus(path.name, vocabulary, {name: against(found, vocabulary)})


def _text(data: TaggedData, path: Path, split: str | None, *, can_skip: bool) -> tuple[str, TaggedSplit]:
    """The sentences of `build_tagged_text`, and the name of their split."""
    if data.folds:
        name = split or "test"
        found = _fold(data, path, can_skip=can_skip)[name]
    elif path.is_dir():
        name = split or "test"
        found = _read(data, find_tagged(path, (name,))[name], can_skip=can_skip)
    elif split is None:
        name = "all"
        found = _read(data, path, can_skip=can_skip)
    else:
        name = split
        parts = split_tagged(_read(data, path, can_skip=can_skip), data.split)
        if split not in parts:
            raise DataError(f"{path}: data.split leaves nothing for {split}; choose another split")
        found = parts[split]
    return name, found


def log_notes(name: str, split: TaggedSplit, log: Callable[[str], None]) -> None:
    """Log what a user should know of a split: its sentences that were left out, words without a tag, and new tags.

    Args:
        name: the name of the split.
        split: the split.
        log: called with each line of text.
    """
    if split.skipped:
        log(f"{name}: left out {quantity(len(split.skipped), 'bad sentence')}:")
        for line in split.skipped[:LISTED]:
            log(f"  {line}")
        if len(split.skipped) > LISTED:
            log(f"  and {len(split.skipped) - LISTED} more")
    if split.empty:
        log(f"{name}: left out {quantity(split.empty, 'empty element')} (-NONE-) of the trees")
    if split.tokens.count("_") == len(split.tokens):
        log(
            f"{name}: every word is _; the text of the treebank is distributed apart from it and has to be merged in, "
            "so that figures say nothing of its words"
        )
    if split.missing:
        log(f"{name}: loss and accuracy leave out {quantity(split.missing, 'word')} with _ in place of a tag")
    if split.new_tags:
        tags = ", ".join(f"{visible(tag)} {count:,}" for tag, count in list(split.new_tags.items())[:LISTED])
        more = f" and {len(split.new_tags) - LISTED} more" if len(split.new_tags) > LISTED else ""
        log(
            f"{name}: the training text lacks the tags of {quantity(sum(split.new_tags.values()), 'word')} "
            f"({tags}{more}); the accuracy counts them as errors, and the loss leaves them out"
        )


def unknown_probability(count: float, unknown_rate: float) -> float:
    """The probability that a word with this count in the training text is read as `<unk>` in training."""
    return unknown_rate / (unknown_rate + count) if unknown_rate else 0.0


def column_of(column: str, vocabulary: TagVocabulary) -> str:
    """The column of CoNLL-U for tags: the column that they were read from, or `upos` or `xpos`, judged by the tags.

    Args:
        column: the setting `data.column`, which is a column or an attribute of CoNLL-U or something else.
        vocabulary: the vocabulary, with all tags.
    """
    with contextlib.suppress(ValueError):
        tag_column(column)
        return column if ":" in column else column.lower()
    return vocabulary.column or ("upos" if UNIVERSAL.issuperset(vocabulary.tags) else "xpos")


def _read(data: TaggedData, path: Path | Sequence[Path], *, can_skip: bool = True) -> TaggedSplit:
    return read_tagged(
        path,
        column=data.column,
        word_column=data.word_column,
        underscore=data.underscore,
        errors=data.errors,
        max_tokens=data.max_tokens,
        skip_bad=data.skip_bad,
        can_skip=can_skip,
    )
