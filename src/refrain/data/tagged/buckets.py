"""Batches of whole sentences of about the same length.

T words of the longest sentence of a batch, B sentences, N words in all of them, F features a word, V words in the
vocabulary.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refrain.errors import DataError

from .sentences import Sentence
from .vocabulary import TagVocabulary

# the id of a word, and of a tag, after the end of a sentence
PADDING = -1
# places of a batch, padding among them, so that a very long sentence stands alone
MOST_PLACES = 16_384
POOL_BATCHES = 50


class Encoded(NamedTuple):
    """A sentence in ids.

    Attributes:
        inputs: (L, 1 + F), the words and their features.
        tags: (L,); empty where they are not known.
    """

    inputs: NDArray[np.int64]
    tags: NDArray[np.int64]


def encode_sentences(sentences: Sequence[Sentence], vocabulary: TagVocabulary) -> list[Encoded]:
    """Sentences in ids.

    Args:
        sentences: whose tags are all in the vocabulary.
        vocabulary: of the training text.
    """
    index = vocabulary.tag_index
    return [
        Encoded(vocabulary.encode(sentence.words), np.array([index[tag] for tag in sentence.tags], np.int64))
        for sentence in sentences
    ]


class Batches:
    """Batches of sentences, made as they are asked for.

    Args:
        sentences: all of them.
        places: for each batch, which sentences it holds.
    """

    def __init__(self, sentences: Sequence[Encoded], places: Sequence[Sequence[int]]) -> None:
        self._sentences, self.places = sentences, places

    def __len__(self) -> int:
        return len(self.places)

    def share(self, index: int) -> float:
        """The share of the learning rate that a batch is trained with: all of it."""
        return 1.0

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """A batch: ids (T, B, 1 + F) with padding, and tags (N,) in the order of `Tagger.logits`."""
        chosen = [self._sentences[place] for place in self.places[index]]
        longest, columns = max(len(each.inputs) for each in chosen), chosen[0].inputs.shape[1]
        inputs = np.zeros((longest, len(chosen), columns), np.int64)
        inputs[..., 0] = PADDING
        tags = np.full((longest, len(chosen)), PADDING, np.int64)
        for column, each in enumerate(chosen):
            inputs[: len(each.inputs), column] = each.inputs
            tags[: len(each.tags), column] = each.tags
        return torch.from_numpy(inputs), torch.from_numpy(tags[tags != PADDING])


def in_order(sentences: Sequence[Encoded], batch_size: int) -> Batches:
    """All sentences, those of like length together, the same at every call.

    Args:
        sentences: all of them.
        batch_size: at most so many side by side.
    """
    lengths = [len(each.inputs) for each in sentences]
    order = sorted(range(len(sentences)), key=lambda place: lengths[place])
    return Batches(sentences, cut(order, lengths, batch_size))


def shuffled(sentences: Sequence[Encoded], batch_size: int, generator: torch.Generator) -> Batches:
    """All sentences in another order for each state of the generator, those of like length together.

    They are shuffled, sorted by length within pools of fifty batches, cut, and the batches shuffled.

    Args:
        sentences: all of them.
        batch_size: at most so many side by side.
        generator: decides the order.

    Raises:
        DataError: when there is no sentence.
    """
    if not sentences:
        raise DataError("no sentence to train on")
    lengths = [len(each.inputs) for each in sentences]
    order, pool = torch.randperm(len(sentences), generator=generator).tolist(), POOL_BATCHES * batch_size
    places: list[list[int]] = []
    for start in range(0, len(order), pool):
        places += cut(sorted(order[start : start + pool], key=lambda place: lengths[place]), lengths, batch_size)
    return Batches(sentences, [places[index] for index in torch.randperm(len(places), generator=generator).tolist()])


def cut(order: Sequence[int], lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Neighbours as batches, of at most so many sentences and of bounded size with padding.

    Args:
        order: of the sentences.
        lengths: of each sentence.
        batch_size: at most so many side by side.
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
    sentences: Sequence[Encoded], rates: Tensor, hidden: Sequence[tuple[int, int]], generator: torch.Generator
) -> list[Encoded]:
    """Sentences in which words were replaced by `<unk>` at random, so that it is trained as any other word.

    Args:
        sentences: as they are.
        rates: (V,), how likely each word is to be replaced.
        hidden: columns that name a whole word, and what stands there for one that is not known.
        generator: decides which.
    """
    ids = torch.from_numpy(np.concatenate([each.inputs[:, 0] for each in sentences]))
    drawn = (torch.rand(len(ids), generator=generator) < rates[ids]).numpy()
    found, start = [], 0
    for each in sentences:
        stop = start + len(each.inputs)
        if drawn[start:stop].any():
            inputs = each.inputs.copy()
            for column, value in hidden:
                inputs[drawn[start:stop], column] = value
            each = Encoded(inputs, each.tags)
        found.append(each)
        start = stop
    return found
