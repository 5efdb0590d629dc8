"""A tagger's settings -> corpus, network, and all that its run trains with."""

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
LISTED = 20


def build_tagged_corpus(
    data: TaggedData, unknown_rate: float = 0.0, say: Callable[[str], None] = quiet
) -> TaggedCorpus:
    """The tagged corpus of a run: its splits, and the vocabulary of the training text.

    Args:
        data: the settings.
        unknown_rate: how readily words are read as `<unk>` in training, which decides the place of `<unk>` in the
            order of words.
        say: is told of sentences that were left out.

    Raises:
        DataError: when sentences are missing or bad.
        UserError: when the shares of the splits are set for a folder of splits.
    """
    path = locate(data.corpus, say)
    if path.is_dir():
        if data.split != TaggedData().split:
            raise UserError(f"data.split: cannot take effect, {path} holds a file for each split; leave it out")
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
        unknown_count=round(sum(count * replaced(count, unknown_rate) for count in words.values())),
    )
    splits = {name: against(split, vocabulary, skip_bad=data.skip_bad) for name, split in splits.items()}
    for name, split in splits.items():
        tell_skipped(name, split, say)
    return TaggedCorpus(path.name, vocabulary, splits)


def build_tagged_text(data: TaggedData, path: Path, split: str | None, vocabulary: TagVocabulary) -> TaggedCorpus:
    """Other sentences for a tagger that has its vocabulary already.

    Args:
        data: the tagger's data settings.
        path: a folder of splits, or a file.
        split: which split; None takes `test` of a folder of splits and all of a file.
        vocabulary: the tagger's.

    Returns:
        A corpus of that one split, which is called `all` where it is all of a file.

    Raises:
        DataError: when sentences are missing or bad.
    """
    if path.is_dir():
        name = split or "test"
        found = _read(data, find_tagged(path, (name,))[name])
    elif split is None:
        name, found = "all", _read(data, path)
    else:
        name, parts = split, split_tagged(_read(data, path), data.split)
        if split not in parts:
            raise DataError(f"{path}: data.split leaves nothing for {split}; choose another split")
        found = parts[split]
    return TaggedCorpus(path.name, vocabulary, {name: against(found, vocabulary, skip_bad=data.skip_bad)})


def tell_skipped(name: str, split: TaggedSplit, say: Callable[[str], None]) -> None:
    """Count and list the sentences that were left out of a split.

    Args:
        name: of the split.
        split: as it was read.
        say: takes a line at a time.
    """
    if split.skipped:
        say(f"{name}: left out {len(split.skipped)} bad sentence(s):")
        for line in split.skipped[:LISTED]:
            say(f"  {line}")
        if len(split.skipped) > LISTED:
            say(f"  and {len(split.skipped) - LISTED} more")


def replaced(count: float, unknown_rate: float) -> float:
    """How likely a word that stands `count` times in the training text is read as `<unk>` there."""
    return unknown_rate / (unknown_rate + count) if unknown_rate else 0.0


def column_of(column: str, tags: Sequence[str]) -> str:
    """The column of CoNLL-U that tags belong in: the one they came from where that is known, or else by what they are.

    Args:
        column: the setting.
        tags: all of them.
    """
    if column.lower() in COLUMNS:
        return column.lower()
    return "upos" if UNIVERSAL.issuperset(tags) else "xpos"


def build_tagger(settings: TaggerModel, vocabulary: TagVocabulary) -> Tagger:
    """The network, freshly initialised from the global generator.

    Args:
        settings: its shape.
        vocabulary: its words, features and tags.

    Raises:
        UserError: when the embedding has no such sparse layout on this vocabulary.
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
    """All that a tagger's run trains with.

    Args:
        experiment: the settings.
        corpus: with the splits `train` and `valid`.
        model: on its device.
        methods: a user's methods by name.
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
    """The batches of an epoch, counted from 0. They depend on seed and epoch alone."""
    vocabulary, train = corpus.vocabulary, corpus.splits["train"]
    sentences = encode_sentences(train.sentences, vocabulary)
    counts, _ = counts_of(train)
    # what is <unk> stays so
    rates = [0.0 if word not in counts else replaced(counts[word], settings.unknown_rate) for word in vocabulary.words]

    def batches(epoch: int) -> Batches:
        generator = torch.Generator().manual_seed((settings.seed * 1_000_003 + epoch) % 2**63)
        read = sentences
        if settings.unknown_rate:
            read = hide_words(sentences, torch.tensor(rates), vocabulary.hidden(), generator)
        return shuffled(read, settings.batch_size, generator)

    return batches


def _read(data: TaggedData, path: Path) -> TaggedSplit:
    return read_tagged(path, column=data.column, errors=data.errors, max_tokens=data.max_tokens, skip_bad=data.skip_bad)
