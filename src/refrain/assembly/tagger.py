"""Builds the network and the training task of a tagger from its settings."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, cast

import torch
from torch import nn

from refrain import optim
from refrain.config import TaggerExperiment, TaggerModel, TaggerTraining, UniformSparseLSTMCell
from refrain.data import Batches, TaggedCorpus, TagVocabulary
from refrain.data.tagged.buckets import encode_sentences, hide_words, shuffled
from refrain.data.tagged.corpus import counts_of
from refrain.errors import UserError
from refrain.evaluation.spans import are_span_tags
from refrain.evaluation.tagging import figure_of
from refrain.models import Tagger
from refrain.nn import (
    Bidirectional,
    CharacterFeatures,
    ConditionalRandomField,
    SparseLSTM,
    WeightDropout,
)
from refrain.parallel import Ranks
from refrain.progress import Track
from refrain.training import Methods, Task, Validation

from .network import build_dropout, build_embedding, draw_second_biases, layer_class, layer_options
from .sparse_layers import uniform_plan
from .tagged_corpus import unknown_probability
from .task import build_optimizer, build_schedule


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
    tagger = Tagger(
        build_embedding(settings, len(vocabulary)),
        [Bidirectional(_layer(settings, *each), _layer(settings, *each)) for each in sizes],
        len(vocabulary.tags),
        features=features,
        projection_size=settings.projection_size,
        crf=ConditionalRandomField(len(vocabulary.tags)) if settings.head.kind == "crf" else None,
        skip_connection=settings.skip_connection,
        embedding_dropout=build_dropout(settings, settings.embedding_dropout, settings.embedding_dropout_mask),
        between=build_dropout(settings, settings.between_dropout, settings.between_dropout_mask),
        output_dropout=build_dropout(settings, settings.output_dropout, settings.output_dropout_mask),
    )
    if settings.init.biases == 2:
        draw_second_biases(tagger)
    return tagger


def _layer(settings: TaggerModel, below: int, width: int) -> nn.Module:
    def dense(inputs: int, units: int) -> Any:
        drop = WeightDropout(settings.weight_drop) if settings.weight_drop else None
        return layer_class(settings)(inputs, units, recurrent_transform=drop, **layer_options(settings))

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

    Raises:
        UserError: when `training.best_by` is f1 and the tags mark no spans.
    """
    settings, vocabulary = experiment.training, corpus.vocabulary
    epochs = _epochs(settings, corpus, experiment.data.feature_min_count)
    valid = corpus.splits["valid"].sentences
    if settings.best_by == "f1" and not are_span_tags(vocabulary.tags):
        raise UserError("training.best_by: f1 needs tags that mark spans, such as B-PER, I-PER and O; choose accuracy")

    def validate(track: Track, ranks: Ranks) -> Validation:
        what = "measuring the validation text"
        figure = figure_of(model, vocabulary, valid, track=track, what=what, ranks=ranks)
        known = figure.words.total - sum(figure.new_words.values())
        f1 = None if figure.spans is None else figure.spans.all.f1
        return Validation(figure.nats, known, figure.words.accuracy, f1, settings.best_by == "f1")

    early_stop = {}
    if settings.stop_window:
        early_stop["early_stop"] = optim.EarlyStop(settings.stop_window, min_epochs=settings.stop_min_epochs)
    return Task(
        model=model,
        optimizer=build_optimizer(settings, model),
        windows=lru_cache(maxsize=1)(epochs),
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
        accumulate=settings.accumulate_windows,
        max_minutes=settings.max_minutes,
    )


def _epochs(settings: TaggerTraining, corpus: TaggedCorpus, feature_min_count: int) -> Callable[[int], Batches]:
    """Return a function that maps an epoch, counted from 0, to its batches, which depend on seed and epoch only."""
    vocabulary = corpus.vocabulary
    train = corpus.splits["train"]
    # without a tag, a sentence teaches nothing
    sentences = [each for each in encode_sentences(train.sentences, vocabulary) if (each.tags >= 0).any()]
    counts, _ = counts_of(train)
    # a word that is already read as <unk> is not replaced
    rates = [
        0.0 if word not in counts else unknown_probability(counts[word], settings.unknown_rate)
        for word in vocabulary.words
    ]
    rows = vocabulary.unknown_rows(feature_min_count)

    def batches(epoch: int) -> Batches:
        generator = torch.Generator().manual_seed((settings.seed * 1_000_003 + epoch) % 2**63)
        read = sentences
        if settings.unknown_rate:
            read = hide_words(sentences, torch.tensor(rates), rows, generator)
        return shuffled(read, settings.batch_size, generator)

    return batches
