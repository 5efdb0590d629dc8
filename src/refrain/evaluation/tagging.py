"""Accuracy of a tagger with its interval, for each tag, and for words inside and outside the training text.

K tags, L words of a sentence, N words of a batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from refrain.data import TagVocabulary
from refrain.data.tagged.buckets import Batches, Encoded, encode_sentences, in_order
from refrain.data.tagged.sentences import Sentence
from refrain.models import Tagger, evaluating
from refrain.progress import Track, untracked

from .share import Share

WHAT = "measuring the sentences, in batches"


def _document(share: Share) -> dict[str, Any]:
    return {"words": share.total, "right": share.right, "accuracy": share.accuracy, "interval": share.interval}


@dataclass(frozen=True)
class TaggingFigure:
    """The results of a tagger on some sentences.

    Attributes:
        nats: the sum of the nats of the true tags.
        confusion: counts (K, K) of words by their true tag (row) and their predicted tag (column).
        seen: the words that occur in the training text.
        unseen: all other words.
        sentences: the sentences of which every word is tagged correctly.
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
        """Precision, recall, F1 and number of words of each tag that is true or predicted at least once.

        Args:
            tags: the names of the tags.

        Returns:
            The figures by tag, frequent tags first.
        """
        true = self.confusion.sum(axis=1)
        predicted = self.confusion.sum(axis=0)
        right = self.confusion.diagonal()
        rows = {}
        for index in sorted(range(len(tags)), key=lambda index: (-true[index], tags[index])):
            if true[index] or predicted[index]:
                precision = right[index] / predicted[index] if predicted[index] else 0.0
                recall = right[index] / true[index] if true[index] else 0.0
                rows[tags[index]] = {
                    "words": int(true[index]),
                    "precision": float(precision),
                    "recall": float(recall),
                    "f1": float(2 * right[index] / (predicted[index] + true[index])),
                }
        return rows

    def document(self) -> dict[str, Any]:
        """The figures of all tags together as plain data."""
        words = self.words
        return {
            "tokens": words.total,
            "nats_per_token": self.nats / words.total,
            "accuracy": words.accuracy,
            "interval": words.interval,
            "seen": _document(self.seen),
            "unseen": _document(self.unseen),
            "sentences": _document(self.sentences),
        }


@torch.no_grad()
def batch_logits(
    model: Tagger, batches: Batches, *, track: Track = untracked, what: str = WHAT
) -> Iterator[tuple[Sequence[int], torch.Tensor, torch.Tensor]]:
    """Run a tagger on batches in evaluation mode.

    Args:
        model: the tagger.
        batches: the batches.
        track: reports the loop over the batches.
        what: what the loop does, for the report.

    Yields:
        For each batch the indices of its sentences, the logits (N, K) and the true tags (N,), on its device.
    """
    device = next(model.parameters()).device
    with evaluating(model):
        for index in track(range(len(batches)), what, len(batches)):
            inputs, targets = batches[index]
            yield batches.places[index], model.logits(inputs.to(device)), targets.to(device)


def evaluate_tags(
    model: Tagger,
    sentences: Sequence[Encoded],
    seen: Sequence[NDArray[np.bool_]],
    *,
    batch_size: int = 64,
    track: Track = untracked,
    what: str = WHAT,
) -> TaggingFigure:
    """Tag sentences and compare with their true tags.

    Args:
        model: the tagger, whose mode is restored at the end.
        sentences: the sentences with their true tags.
        seen: for each sentence, which of its words (L,) occur in the training text.
        batch_size: the number of sentences in a batch; it affects speed and memory, not the result.
        track: reports the loop over the batches.
        what: what the loop does, for the report.
    """
    count = model.output.out_features
    nats = 0.0
    confusion = np.zeros((count, count), np.int64)
    predictions: dict[int, NDArray[np.int64]] = {}
    batches = in_order(sentences, batch_size)
    for places, logits, targets in batch_logits(model, batches, track=track, what=what):
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
    """The most probable tags (L,) of each sentence.

    Args:
        model: the tagger, whose mode is restored at the end.
        sentences: sentences of at least one word.
        batch_size: the number of sentences in a batch; it affects speed and memory, not the result.
    """
    found: dict[int, NDArray[np.int64]] = {}
    for places, logits, _ in batch_logits(model, in_order(sentences, batch_size)):
        found |= _by_sentence(places, sentences, logits.argmax(dim=1).cpu().numpy())
    return [found[place] for place in range(len(sentences))]


def _by_sentence(
    places: Sequence[int], sentences: Sequence[Encoded], flat: NDArray[np.int64]
) -> dict[int, NDArray[np.int64]]:
    """Regroup the values of the words of a batch, which are ordered by step, by sentence."""
    lengths = np.array([len(sentences[place].inputs) for place in places])
    is_word = np.arange(lengths.max())[:, None] < lengths
    table = np.zeros(is_word.shape, np.int64)
    table[is_word] = flat
    return {place: table[:length, column] for column, (place, length) in enumerate(zip(places, lengths, strict=True))}


def figure_of(
    model: Tagger,
    vocabulary: TagVocabulary,
    sentences: Sequence[Sentence],
    *,
    batch_size: int = 64,
    track: Track = untracked,
    what: str = WHAT,
) -> TaggingFigure:
    """The results of a tagger on sentences.

    Args:
        model: the tagger, whose mode is restored at the end.
        vocabulary: the vocabulary of the training text, whose words count as seen.
        sentences: the sentences; their tags must be in the vocabulary.
        batch_size: the number of sentences in a batch; it affects speed and memory, not the result.
        track: reports the loop over the batches.
        what: what the loop does, for the report.
    """
    seen = [np.array([vocabulary.saw(word) for word in sentence.words]) for sentence in sentences]
    encoded = encode_sentences(sentences, vocabulary)
    return evaluate_tags(model, encoded, seen, batch_size=batch_size, track=track, what=what)
