"""Batches of whole sentences of about the same length.

T words in the longest sentence of a batch, B batch size, N words in all sentences of a batch, F features of a word,
L words of a sentence, V words in the vocabulary.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refrain.errors import DataError

from .sentences import MISSING, Sentence
from .vocabulary import TagVocabulary

# the id of a word, and of a tag, after the end of a sentence
PADDING = -1
# the id of the tag of a word without annotation; the loss leaves out words with this id, torch's `ignore_index`
NO_TAG = -100
# the id of a tag that does not occur in the training text
NEW_TAG = -101
# the largest T * B of a batch, so that a very long sentence has a batch of its own
MOST_PLACES = 16_384
POOL_BATCHES = 50


class Encoded(NamedTuple):
    """The ids of a sentence.

    Attributes:
        inputs: ids (L, 1 + F) of the words and their features.
        tags: ids (L,) of the tags, `NO_TAG` or `NEW_TAG`; empty if they are not known.
    """

    inputs: NDArray[np.int64]
    tags: NDArray[np.int64]


def encode_sentences(sentences: Sequence[Sentence], vocabulary: TagVocabulary) -> list[Encoded]:
    """The ids of sentences.

    Args:
        sentences: the sentences.
        vocabulary: the vocabulary of the training text.
    """
    index = vocabulary.tag_index | {MISSING: NO_TAG}
    return [
        Encoded(
            vocabulary.encode(sentence.words), np.array([index.get(tag, NEW_TAG) for tag in sentence.tags], np.int64)
        )
        for sentence in sentences
    ]


class Batches:
    """Batches of sentences, each padded when it is indexed.

    Args:
        sentences: the sentences of all batches.
        places: for each batch the indices of its sentences.
    """

    def __init__(self, sentences: Sequence[Encoded], places: Sequence[Sequence[int]]) -> None:
        self._sentences = sentences
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    def share(self, index: int) -> float:
        """The factor of the learning rate for a batch: 1, as sentences are not cut."""
        return 1.0

    def __getitem__(self, batch: int) -> tuple[Tensor, Tensor]:
        """Padded ids (T, B, 1 + F) and tags (N,) in the order of `Tagger.logits`; a new tag is read as `NO_TAG`."""
        chosen = [self._sentences[place] for place in self.places[batch]]
        longest = max(len(each.inputs) for each in chosen)
        inputs = np.zeros((longest, len(chosen), chosen[0].inputs.shape[1]), np.int64)
        inputs[..., 0] = PADDING
        tags = np.full((longest, len(chosen)), PADDING, np.int64)
        for index, each in enumerate(chosen):
            inputs[: len(each.inputs), index] = each.inputs
            tags[: len(each.tags), index] = np.maximum(each.tags, NO_TAG)
        return torch.from_numpy(inputs), torch.from_numpy(tags[tags != PADDING])


def in_order(sentences: Sequence[Encoded], batch_size: int) -> Batches:
    """Batches of all sentences sorted by length, the same at every call.

    Args:
        sentences: the sentences.
        batch_size: the largest number of sentences in a batch.
    """
    lengths = [len(each.inputs) for each in sentences]
    order = sorted(range(len(sentences)), key=lambda place: lengths[place])
    return Batches(sentences, cut(order, lengths, batch_size))


def shuffled(sentences: Sequence[Encoded], batch_size: int, generator: torch.Generator) -> Batches:
    """Batches of all sentences in random order, with sentences of similar length together.

    Sentences are shuffled and sorted by length within pools of fifty batches; then the batches are shuffled.

    Args:
        sentences: the sentences.
        batch_size: the largest number of sentences in a batch.
        generator: the source of randomness, which is advanced.

    Raises:
        DataError: when there is no sentence.
    """
    if not sentences:
        raise DataError("no sentence to train on")
    lengths = [len(each.inputs) for each in sentences]
    order = torch.randperm(len(sentences), generator=generator).tolist()
    pool = POOL_BATCHES * batch_size
    places: list[list[int]] = []
    for start in range(0, len(order), pool):
        places += cut(sorted(order[start : start + pool], key=lambda place: lengths[place]), lengths, batch_size)
    return Batches(sentences, [places[index] for index in torch.randperm(len(places), generator=generator).tolist()])


def cut(order: Sequence[int], lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Cut a sequence of sentences into batches whose size including padding is bounded.

    Args:
        order: the indices of the sentences in order.
        lengths: the length of each sentence.
        batch_size: the largest number of sentences in a batch.
    """
    batches: list[list[int]] = []
    longest = 0
    for place in order:
        longest = max(longest, lengths[place])
        if not batches or len(batches[-1]) == batch_size or (len(batches[-1]) + 1) * longest > MOST_PLACES:
            batches.append([])
            longest = lengths[place]
        batches[-1].append(place)
    return batches


def hide_words(
    sentences: Sequence[Encoded], rates: Tensor, rows: NDArray[np.int64], generator: torch.Generator
) -> list[Encoded]:
    """Replace words by `<unk>` at random, so that the model learns to read words that it does not know.

    Args:
        sentences: the sentences, which are not changed.
        rates: (V,), the probability that a word is replaced.
        rows: (V, 1 + F), the ids that replace those of each word, see `TagVocabulary.unknown_rows`.
        generator: the source of randomness, which is advanced.
    """
    ids = torch.from_numpy(np.concatenate([each.inputs[:, 0] for each in sentences]))
    drawn = (torch.rand(len(ids), generator=generator) < rates[ids]).numpy()
    found = []
    start = 0
    for each in sentences:
        chosen = drawn[start : start + len(each.inputs)]
        start += len(each.inputs)
        if chosen.any():
            inputs = each.inputs.copy()
            inputs[chosen] = rows[inputs[chosen, 0]]
            each = Encoded(inputs, each.tags)
        found.append(each)
    return found
