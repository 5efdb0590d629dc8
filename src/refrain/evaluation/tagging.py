"""How well a tagger tags: accuracy with its interval, tag by tag, and for words that training had and had not.

K tags, L words of a sentence.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from refrain.data import TagVocabulary
from refrain.data.tagged.buckets import Batches, Encoded, encode_sentences, in_order
from refrain.data.tagged.sentences import Sentence
from refrain.models import Tagger, evaluating

# of the standard normal distribution, for 95 of 100
NORMAL_95 = 1.959964


class Share(NamedTuple):
    """How many of some words were told right."""

    right: int
    words: int

    @property
    def accuracy(self) -> float | None:
        """The share; None of no words."""
        return self.right / self.words if self.words else None

    def interval(self) -> tuple[float, float] | None:
        """Wilson's interval of 95 %, as if words were drawn one by one; None of no words."""
        if not self.words:
            return None
        share, square = self.right / self.words, NORMAL_95**2 / self.words
        middle = (share + square / 2) / (1 + square)
        half = math.sqrt(share * (1 - share) * square + square**2 / 4) / (1 + square)
        # at 0 and at 1 rounding may leave the share outside
        return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))

    def document(self) -> dict[str, Any]:
        """As plain data."""
        return {"words": self.words, "right": self.right, "accuracy": self.accuracy, "interval": self.interval()}


@dataclass(frozen=True)
class TaggingFigure:
    """What was found on some sentences.

    Attributes:
        nats: of the right tags, summed.
        confusion: (K, K), how often the tag of the row was told as that of the column.
        seen: words of the training text.
        unseen: all others.
        sentences: whole sentences told right, and all.
    """

    nats: float
    confusion: NDArray[np.int64]
    seen: Share
    unseen: Share
    sentences: Share

    @property
    def words(self) -> Share:
        """All words."""
        return Share(int(self.confusion.trace()), int(self.confusion.sum()))

    def per_tag(self, tags: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Precision, recall, F1 and number of words of each tag that there is or was told, frequent tags first.

        Args:
            tags: their names.
        """
        gold, told, right = self.confusion.sum(axis=1), self.confusion.sum(axis=0), self.confusion.diagonal()
        rows = {}
        for index in sorted(range(len(tags)), key=lambda index: (-gold[index], tags[index])):
            if gold[index] or told[index]:
                precision = right[index] / told[index] if told[index] else 0.0
                recall = right[index] / gold[index] if gold[index] else 0.0
                rows[tags[index]] = {
                    "words": int(gold[index]),
                    "precision": float(precision),
                    "recall": float(recall),
                    "f1": float(2 * right[index] / (told[index] + gold[index])),
                }
        return rows

    def document(self) -> dict[str, Any]:
        """The figures but those of single tags, as plain data."""
        words = self.words
        return {
            "tokens": words.words,
            "nats_per_token": self.nats / words.words,
            "accuracy": words.accuracy,
            "interval": words.interval(),
            "seen": self.seen.document(),
            "unseen": self.unseen.document(),
            "sentences": self.sentences.document(),
        }


@torch.no_grad()
def batch_logits(model: Tagger, batches: Batches) -> Iterator[tuple[Sequence[int], torch.Tensor, torch.Tensor]]:
    """The places of each batch's sentences, their logits (N, K) and tags (N,), on the model's device, in evaluation."""
    device = next(model.parameters()).device
    with evaluating(model):
        for index in range(len(batches)):
            inputs, targets = batches[index]
            yield batches.places[index], model.logits(inputs.to(device)), targets.to(device)


def evaluate_tags(
    model: Tagger, sentences: Sequence[Encoded], seen: Sequence[NDArray[np.bool_]], *, batch_size: int = 64
) -> TaggingFigure:
    """Tag sentences and compare.

    Args:
        model: its mode is the same afterwards.
        sentences: with their tags.
        seen: for each sentence, which of its words (L,) training had.
        batch_size: sentences side by side; decides speed and memory, not the result.
    """
    count = model.output.out_features
    nats, confusion = 0.0, np.zeros((count, count), np.int64)
    predictions: dict[int, NDArray[np.int64]] = {}
    batches = in_order(sentences, batch_size)
    for places, logits, targets in batch_logits(model, batches):
        nats += nn.functional.cross_entropy(logits, targets, reduction="sum").item()
        predictions |= _by_sentence(places, sentences, logits.argmax(dim=1).cpu().numpy())
    right = {True: 0, False: 0}
    words = {True: 0, False: 0}
    whole = 0
    for place, sentence in enumerate(sentences):
        np.add.at(confusion, (sentence.tags, predictions[place]), 1)
        hits = sentence.tags == predictions[place]
        whole += bool(hits.all())
        for kind in (True, False):
            right[kind] += int(hits[seen[place] == kind].sum())
            words[kind] += int((seen[place] == kind).sum())
    return TaggingFigure(
        nats,
        confusion,
        Share(right[True], words[True]),
        Share(right[False], words[False]),
        Share(whole, len(sentences)),
    )


def predict_tags(model: Tagger, sentences: Sequence[Encoded], *, batch_size: int = 64) -> list[NDArray[np.int64]]:
    """The likeliest tag of each word of each sentence (L,).

    Args:
        model: its mode is the same afterwards.
        sentences: of at least one word each.
        batch_size: sentences side by side; decides speed and memory, not the result.
    """
    found: dict[int, NDArray[np.int64]] = {}
    for places, logits, _ in batch_logits(model, in_order(sentences, batch_size)):
        found |= _by_sentence(places, sentences, logits.argmax(dim=1).cpu().numpy())
    return [found[place] for place in range(len(sentences))]


def _by_sentence(
    places: Sequence[int], sentences: Sequence[Encoded], flat: NDArray[np.int64]
) -> dict[int, NDArray[np.int64]]:
    """Values of a batch's words, step by step, as those of its sentences."""
    lengths = np.array([len(sentences[place].inputs) for place in places])
    there = np.arange(lengths.max())[:, None] < lengths
    table = np.zeros(there.shape, np.int64)
    table[there] = flat
    return {place: table[:length, column] for column, (place, length) in enumerate(zip(places, lengths, strict=True))}


def figure_of(
    model: Tagger, vocabulary: TagVocabulary, sentences: Sequence[Sentence], *, batch_size: int = 64
) -> TaggingFigure:
    """How well a model tags sentences.

    Args:
        model: its mode is the same afterwards.
        vocabulary: of the training text, whose words count as seen.
        sentences: with tags that the vocabulary holds.
        batch_size: sentences side by side; decides speed and memory, not the result.
    """
    seen = [np.array([vocabulary.saw(word) for word in sentence.words]) for sentence in sentences]
    return evaluate_tags(model, encode_sentences(sentences, vocabulary), seen, batch_size=batch_size)
