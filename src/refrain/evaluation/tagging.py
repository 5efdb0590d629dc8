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
from refrain.data.tagged.buckets import NO_TAG, Batches, Encoded, encode_sentences, in_order
from refrain.data.tagged.sentences import MISSING, Sentence
from refrain.models import Tagger, evaluating
from refrain.models.tagger import Prediction
from refrain.parallel import ALONE, Ranks
from refrain.progress import Track, untracked

from .share import Share
from .spans import SpanFigure, are_span_tags, span_figure

WHAT = "measuring the sentences, in batches"


def _document(share: Share) -> dict[str, Any]:
    return {"words": share.total, "right": share.right, "accuracy": share.accuracy, "interval": share.interval}


@dataclass(frozen=True)
class TaggingFigure:
    """The results of a tagger on some sentences. Words without annotation are in none of them.

    Attributes:
        nats: the sum of the nats of the true tags that occur in the training text.
        confusion: counts (K, K) of words by their true tag (row) and their predicted tag (column); new tags come last.
        seen: the words that occur in the training text.
        unseen: all other words.
        sentences: the sentences of which every word is tagged correctly.
        new_tags: the tags that do not occur in the training text, whose words count as errors.
        missing: the number of words without annotation.
        spans: the spans that the tags mark; None where they mark none.
    """

    nats: float
    confusion: NDArray[np.int64]
    seen: Share
    unseen: Share
    sentences: Share
    new_tags: tuple[str, ...] = ()
    missing: int = 0
    spans: SpanFigure | None = None

    @property
    def words(self) -> Share:
        """All words."""
        return Share(int(self.confusion.trace()), int(self.confusion.sum()))

    @property
    def new_words(self) -> dict[str, int]:
        """The number of words of each tag that does not occur in the training text."""
        counts = self.confusion[len(self.confusion) - len(self.new_tags) :].sum(axis=1)
        return {tag: int(count) for tag, count in zip(self.new_tags, counts, strict=True)}

    @property
    def nats_per_token(self) -> float | None:
        """The mean of the nats, over the words whose tags occur in the training text; None where there are none."""
        known = self.words.total - sum(self.new_words.values())
        return self.nats / known if known else None

    def per_tag(self, tags: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Precision, recall, F1 and number of words of each tag that is true or predicted at least once.

        Args:
            tags: the names of the tags that occur in the training text.

        Returns:
            The figures by tag, frequent tags first.
        """
        tags = [*tags, *self.new_tags]
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
            "nats_per_token": self.nats_per_token,
            "accuracy": words.accuracy,
            "interval": words.interval,
            "seen": _document(self.seen),
            "unseen": _document(self.unseen),
            "sentences": _document(self.sentences),
            "new_tags": {"words": sum(self.new_words.values()), "tags": self.new_words},
            "missing": self.missing,
            **({} if self.spans is None else {"spans": self.spans.document()}),
        }


@torch.no_grad()
def batch_predictions(
    model: Tagger, batches: Batches, *, track: Track = untracked, what: str = WHAT
) -> Iterator[tuple[Sequence[int], Prediction, torch.Tensor]]:
    """Run a tagger on batches in evaluation mode.

    Args:
        model: the tagger.
        batches: the batches.
        track: reports the loop over the batches.
        what: what the loop does, for the report.

    Yields:
        For each batch the indices of its sentences, the prediction and the true tags (N,), on its device.
    """
    device = next(model.parameters()).device
    with evaluating(model):
        for index in track(range(len(batches)), what, len(batches)):
            inputs, targets = batches[index]
            yield batches.places[index], model.predict(inputs.to(device)), targets.to(device)


def evaluate_tags(
    model: Tagger,
    sentences: Sequence[Encoded],
    seen: Sequence[NDArray[np.bool_]],
    *,
    true: Sequence[NDArray[np.int64]] | None = None,
    names: Sequence[str] = (),
    batch_size: int = 64,
    track: Track = untracked,
    what: str = WHAT,
    ranks: Ranks = ALONE,
) -> TaggingFigure:
    """Tag sentences and compare with their true tags.

    Args:
        model: the tagger, whose mode is restored at the end.
        sentences: the sentences with their true tags.
        seen: for each sentence, which of its words (L,) occur in the training text.
        true: for each sentence, its true tags (L,), of which K and above are new; None for those of `sentences`.
        names: the names of the tags, new ones last; empty if they are not known, and their spans are not measured.
        batch_size: the number of sentences in a batch; it affects speed and memory, not the result.
        track: reports the loop over the batches.
        what: what the loop does, for the report.
        ranks: processes that have the same model, among which the batches are divided.
    """
    known = model.output.out_features
    count = max(known, len(names))
    true = true or [sentence.tags for sentence in sentences]
    confusion = np.zeros((count, count), np.int64)
    nats, predictions = _predicted(model, sentences, batch_size, track, what, ranks)
    right = {True: 0, False: 0}
    words = {True: 0, False: 0}
    whole = tagged = missing = 0
    spans = []
    for place, wanted in enumerate(true):
        scored = wanted >= 0
        missing += int((~scored).sum())
        np.add.at(confusion, (wanted[scored], predictions[place][scored]), 1)
        hits = wanted == predictions[place]
        whole += bool(scored.any() and hits[scored].all())
        tagged += bool(scored.any())
        for kind in (True, False):
            right[kind] += int(hits[seen[place] == kind].sum())
            words[kind] += int((scored & (seen[place] == kind)).sum())
        spans.append((_names(wanted, scored, names), _names(predictions[place], scored, names)))
    return TaggingFigure(
        nats,
        confusion,
        Share(right[True], words[True]),
        Share(right[False], words[False]),
        Share(whole, tagged),
        tuple(names[known:]),
        missing,
        span_figure(spans) if are_span_tags(names[:known]) else None,
    )


def _predicted(
    model: Tagger, sentences: Sequence[Encoded], batch_size: int, track: Track, what: str, ranks: Ranks
) -> tuple[float, dict[int, NDArray[np.int64]]]:
    """The nats of all sentences, and the predicted tags of each; each rank tags some of the batches."""
    nats = 0.0
    predictions: dict[int, NDArray[np.int64]] = {}
    batches = in_order(sentences, batch_size)
    own = Batches(sentences, batches.places[ranks.rank :: ranks.size])
    for places, found, targets in batch_predictions(model, own, track=track, what=what):
        nats += nn.functional.cross_entropy(found.logits, targets, reduction="sum").item()
        predictions |= _by_sentence(places, sentences, found.tags.cpu().numpy())
    if ranks.size > 1:
        nats = ranks.sums(nats)[0]
        own_tags = [[place, tags.tolist()] for place, tags in predictions.items()]
        predictions = {place: np.array(tags) for each in ranks.gathered(own_tags) for place, tags in each}
    return nats, predictions


def _names(tags: NDArray[np.int64], scored: NDArray[np.bool_], names: Sequence[str]) -> list[str]:
    """The names of the tags of a sentence, with O where a word has no annotation; empty without names."""
    return [names[tag] if used else "O" for tag, used in zip(tags, scored, strict=True)] if names else []


def predict_tags(model: Tagger, sentences: Sequence[Encoded], *, batch_size: int = 64) -> list[NDArray[np.int64]]:
    """The most probable tags (L,) of each sentence.

    Args:
        model: the tagger, whose mode is restored at the end.
        sentences: sentences of at least one word.
        batch_size: the number of sentences in a batch; it affects speed and memory, not the result.
    """
    return [tags for tags, _ in predict_with_probabilities(model, sentences, batch_size=batch_size)]


def predict_with_probabilities(
    model: Tagger, sentences: Sequence[Encoded], *, batch_size: int = 64
) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """The most probable tags (L,) of each sentence, and their probabilities (L,).

    Args:
        model: the tagger, whose mode is restored at the end.
        sentences: sentences of at least one word.
        batch_size: the number of sentences in a batch; it affects speed and memory, not the result.
    """
    tags: dict[int, NDArray[np.int64]] = {}
    probabilities: dict[int, NDArray[np.float32]] = {}
    for places, found, _ in batch_predictions(model, in_order(sentences, batch_size)):
        best = found.logits.softmax(dim=1).gather(1, found.tags[:, None])[:, 0]
        tags |= _by_sentence(places, sentences, found.tags.cpu().numpy())
        probabilities |= _by_sentence(places, sentences, best.float().cpu().numpy())
    return [(tags[place], probabilities[place]) for place in range(len(sentences))]


def _by_sentence(places: Sequence[int], sentences: Sequence[Encoded], flat: NDArray[Any]) -> dict[int, NDArray[Any]]:
    """Regroup the values of the words of a batch, which are ordered by step, by sentence."""
    lengths = np.array([len(sentences[place].inputs) for place in places])
    is_word = np.arange(lengths.max())[:, None] < lengths
    table = np.zeros(is_word.shape, flat.dtype)
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
    ranks: Ranks = ALONE,
) -> TaggingFigure:
    """The results of a tagger on sentences.

    Args:
        model: the tagger, whose mode is restored at the end.
        vocabulary: the vocabulary of the training text, whose words count as seen.
        sentences: the sentences; tags that are not in the vocabulary count as errors.
        batch_size: the number of sentences in a batch; it affects speed and memory, not the result.
        track: reports the loop over the batches.
        what: what the loop does, for the report.
        ranks: processes that have the same model, among which the batches are divided.
    """
    seen = [np.array([vocabulary.saw(word) for word in sentence.words]) for sentence in sentences]
    new = sorted({tag for sentence in sentences for tag in sentence.tags} - {*vocabulary.tags, MISSING})
    names = [*vocabulary.tags, *new]
    index = {tag: place for place, tag in enumerate(names)} | {MISSING: NO_TAG}
    true = [np.array([index[tag] for tag in sentence.tags], np.int64) for sentence in sentences]
    encoded = encode_sentences(sentences, vocabulary)
    more: Any = {"batch_size": batch_size, "track": track, "what": what, "ranks": ranks}
    return evaluate_tags(model, encoded, seen, true=true, names=names, **more)
