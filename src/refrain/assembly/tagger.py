"""Builds the corpus, the network and the training task of a tagger from its settings."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from refrain import optim
from refrain.config import TaggedData, TaggerExperiment, TaggerModel, TaggerTraining, UniformSparseLSTMCell
from refrain.data import Batches, TaggedCorpus, TaggedSplit, TagVocabulary, find_tagged, read_tagged
from refrain.data.tagged.buckets import encode_sentences, hide_words, shuffled
from refrain.data.tagged.conllu import COLUMNS
from refrain.data.tagged.corpus import against, counts_of, split_tagged
from refrain.data.tagged.vocabulary import FeatureKinds, build_tag_vocabulary
from refrain.errors import DataError, UserError
from refrain.evaluation.tagging import figure_of
from refrain.models import Tagger
from refrain.nn import (
    Bidirectional,
    CharacterFeatures,
    SparseLSTM,
    WeightDropout,
)
from refrain.training import Methods, Task, Validation

from .corpus import locate, quiet
from .network import build_dropout, build_embedding, layer_class
from .sparse_layers import uniform_plan
from .task import build_optimizer, build_schedule

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
        UserError: when `data.split` is set for a folder of splits.
    """
    path = locate(data.corpus, log)
    if path.is_dir():
        if data.split != TaggedData().split:
            raise UserError(
                f"data.split: cannot take effect, because {path} has a file for each split; leave data.split out"
            )
        splits = {name: _read(data, file) for name, file in find_tagged(path).items()}
    else:
        splits = split_tagged(_read(data, path), data.split)
    words, tags = counts_of(splits["train"])
    vocabulary = build_tag_vocabulary(
        words,
        tags,
        order=data.order,
        order_seed=1 if data.order_seed is None else data.order_seed,
        min_count=data.min_count,
        kinds=FeatureKinds(data.lower_case, data.prefixes, data.suffixes, data.shapes),
        feature_min_count=data.feature_min_count,
        unknown_count=round(sum(count * unknown_probability(count, unknown_rate) for count in words.values())),
    )
    splits = {name: against(split, vocabulary, skip_bad=data.skip_bad) for name, split in splits.items()}
    for name, split in splits.items():
        log_skipped(name, split, log)
    return TaggedCorpus(path.name, vocabulary, splits)


def build_tagged_text(data: TaggedData, path: Path, split: str | None, vocabulary: TagVocabulary) -> TaggedCorpus:
    """Read sentences for a trained tagger with its vocabulary.

    Args:
        data: the data settings of the tagger.
        path: a folder of splits or a file.
        split: the split; None is `test` for a folder of splits, and the whole file otherwise.
        vocabulary: the vocabulary of the tagger.

    Returns:
        A corpus with one split, which is named `all` for a whole file.

    Raises:
        DataError: when sentences are missing or bad.
    """
    if path.is_dir():
        name = split or "test"
        found = _read(data, find_tagged(path, (name,))[name])
    elif split is None:
        name = "all"
        found = _read(data, path)
    else:
        name = split
        parts = split_tagged(_read(data, path), data.split)
        if split not in parts:
            raise DataError(f"{path}: data.split leaves nothing for {split}; choose another split")
        found = parts[split]
    return TaggedCorpus(path.name, vocabulary, {name: against(found, vocabulary, skip_bad=data.skip_bad)})


def log_skipped(name: str, split: TaggedSplit, log: Callable[[str], None]) -> None:
    """Log the number and a list of the sentences that were left out of a split.

    Args:
        name: the name of the split.
        split: the split.
        log: called with each line of text.
    """
    if split.skipped:
        log(f"{name}: left out {len(split.skipped)} bad sentence(s):")
        for line in split.skipped[:LISTED]:
            log(f"  {line}")
        if len(split.skipped) > LISTED:
            log(f"  and {len(split.skipped) - LISTED} more")


def unknown_probability(count: float, unknown_rate: float) -> float:
    """The probability that a word with this count in the training text is read as `<unk>` in training."""
    return unknown_rate / (unknown_rate + count) if unknown_rate else 0.0


def column_of(column: str, tags: Sequence[str]) -> str:
    """The column of CoNLL-U for tags: the column that they were read from, or `upos` or `xpos`, judged by the tags.

    Args:
        column: the setting `data.column`, which is a column of CoNLL-U or something else.
        tags: all tags.
    """
    if column.lower() in COLUMNS:
        return column.lower()
    return "upos" if UNIVERSAL.issuperset(tags) else "xpos"


def build_tagger(settings: TaggerModel, vocabulary: TagVocabulary) -> Tagger:
    """Build a tagger, initialised from the global random generator.

    Args:
        settings: the settings of the model.
        vocabulary: the words, features and tags.

    Raises:
        UserError: when the layout of a sparse embedding does not fit the vocabulary.
    """
    count = len(vocabulary.features)
    features = CharacterFeatures(count, settings.embedding_size) if count else None
    sizes = zip(
        [settings.embedding_size, *(2 * size for size in settings.hidden_sizes)], settings.hidden_sizes, strict=False
    )
    return Tagger(
        build_embedding(settings, len(vocabulary)),
        [Bidirectional(_layer(settings, *each), _layer(settings, *each)) for each in sizes],
        len(vocabulary.tags),
        features=features,
        projection_size=settings.projection_size,
        embedding_dropout=build_dropout(settings, settings.embedding_dropout),
        between=build_dropout(settings, settings.between_dropout),
        output_dropout=build_dropout(settings, settings.output_dropout),
    )


def _layer(settings: TaggerModel, below: int, width: int) -> nn.Module:
    def dense(inputs: int, units: int) -> Any:
        drop = WeightDropout(settings.weight_drop) if settings.weight_drop else None
        return layer_class(settings)(inputs, units, recurrent_transform=drop)

    if not isinstance(settings.cell, UniformSparseLSTMCell):
        return cast(nn.Module, dense(below, width))
    return SparseLSTM(uniform_plan(settings.cell.plan, below, width), block=dense)


def build_tagger_task(
    experiment: TaggerExperiment, corpus: TaggedCorpus, model: Tagger, methods: Mapping[str, object] | None = None
) -> Task:
    """Build the training task of a tagger.

    Args:
        experiment: the settings of the run.
        corpus: a corpus with the splits `train` and `valid`.
        model: the model on its device.
        methods: methods given by the user, by name.
    """
    settings, vocabulary = experiment.training, corpus.vocabulary
    valid = corpus.splits["valid"].sentences

    def validate() -> Validation:
        figure = figure_of(model, vocabulary, valid)
        return Validation(figure.nats, figure.words.total, figure.words.accuracy)

    early_stop = {"early_stop": optim.EarlyStop(settings.stop_window)} if settings.stop_window else {}
    return Task(
        model=model,
        optimizer=build_optimizer(settings, model),
        windows=lru_cache(maxsize=1)(_epochs(settings, corpus)),
        batch_size=settings.batch_size,
        schedule=build_schedule(settings.schedule),
        learning_rate=settings.learning_rate,
        epochs=settings.epochs,
        loss_scale="mean-over-tokens",
        max_norm=settings.max_norm,
        validate=validate,
        methods=Methods(own=methods, last=early_stop),
        log_windows=settings.log_windows,
        checkpoint_minutes=settings.checkpoint_minutes,
    )


def _epochs(settings: TaggerTraining, corpus: TaggedCorpus) -> Callable[[int], Batches]:
    """Return a function that maps an epoch, counted from 0, to its batches, which depend on seed and epoch only."""
    vocabulary = corpus.vocabulary
    train = corpus.splits["train"]
    sentences = encode_sentences(train.sentences, vocabulary)
    counts, _ = counts_of(train)
    # a word that is already read as <unk> is not replaced
    rates = [
        0.0 if word not in counts else unknown_probability(counts[word], settings.unknown_rate)
        for word in vocabulary.words
    ]

    def batches(epoch: int) -> Batches:
        generator = torch.Generator().manual_seed((settings.seed * 1_000_003 + epoch) % 2**63)
        read = sentences
        if settings.unknown_rate:
            read = hide_words(sentences, torch.tensor(rates), vocabulary.hidden(), generator)
        return shuffled(read, settings.batch_size, generator)

    return batches


def _read(data: TaggedData, path: Path) -> TaggedSplit:
    return read_tagged(path, column=data.column, errors=data.errors, max_tokens=data.max_tokens, skip_bad=data.skip_bad)
