"""The surprisal of each word of sentences, with the entropy of the next word before it.

T tokens of the longest sentence in a batch, B batch size, V tokens in the vocabulary.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from refrain.data import Vocabulary
from refrain.data.units.alignment import WrittenWord, aligned, frequency
from refrain.data.units.protocol import DividesWords
from refrain.models import Network, stepper_of
from refrain.models.scorer import Reader
from refrain.nn.kernels.streams import SMALL_INTEGER_BATCH

Context = Literal["sentence", "document"]
"""What the model has read before a sentence."""

# the largest B * V of a step, which bounds the memory for log-probabilities
BATCH_SCORES = 1 << 22
BATCH_SENTENCES = 64
CHUNK_SENTENCES = 1024


class SurprisalRow(NamedTuple):
    """A word of a sentence.

    Attributes:
        sentence: the number of the sentence, counting from 1.
        word_number: the number of the word in the sentence, counting from 1.
        word: the word as it is written, with its punctuation and capitals.
        surprisal_bits: the negative binary logarithm of the word's probability after all words before it, summed over
            its tokens.
        frequency: how often the word occurs in the training text; of several tokens, the count of the rarest. None for
            an unknown word, and where the run has no counts.
        unknown: whether a token of the word is not in the vocabulary and is scored as `<unk>`.
        entropy_bits: the entropy of the next token before the word; None where blanks are tokens, as in models of
            bytes.
        reduction_bits: `entropy_bits` minus the entropy of the next token after the word, which may be negative.
    """

    sentence: int
    word_number: int
    word: str
    surprisal_bits: float
    frequency: int | None
    unknown: bool
    entropy_bits: float | None
    reduction_bits: float | None


class _Sentence(NamedTuple):
    """A sentence as the model reads it.

    Attributes:
        number: its number.
        inputs: the ids that are read before and in the sentence.
        words: its words, whose tokens are counted in `inputs`.
    """

    number: int
    inputs: list[int]
    words: list[WrittenWord]


class _Carried(NamedTuple):
    """The state after what has been read, and the log-probabilities (B, V) of the next ids; None before the first."""

    state: Any
    log_probabilities: Tensor | None


def surprisal_rows(
    model: Network | Reader,
    vocabulary: Vocabulary,
    sentences: str | Iterable[str],
    *,
    context: Context = "sentence",
    after: str = "",
) -> Iterator[SurprisalRow]:
    """The surprisal of each word of sentences, the first word included.

    The model reads a line end and the text `after`, and then the sentence. With the context `document` it does so
    before the first sentence only; every other sentence follows the one before it, and a line end between the two.

    Where a blank is a token of its own, as in models of bytes and characters, the surprisal of a word includes the
    blanks after it, and that of the last word includes the line end, because only they end the word. Where words are
    divided into pieces that begin with a blank, the surprisal of a word includes the blanks before it.

    Args:
        model: the model, used with the weights that it has when the first sentence is scored.
        vocabulary: the vocabulary of the model.
        sentences: sentences without line ends, or one as a text; a newline inside is read as a blank.
        context: what the model has read before a sentence.
        after: a text that the sentences continue, or that only the first continues with the context `document`.

    Yields:
        A row for each word, in order. A sentence without words has none.

    Raises:
        ValueError: when the context is unknown.
        UserError: when a network of one's own has no `step`.
    """
    if context not in ("sentence", "document"):
        raise ValueError(f"context must be 'sentence' or 'document' (got {context!r})")
    stepper = stepper_of(model)
    begin = [vocabulary.line_end, *vocabulary.encode(_joined(vocabulary, after))]
    numbered = enumerate([sentences] if isinstance(sentences, str) else sentences, 1)
    if context == "document":
        yield from _document(stepper, vocabulary, numbered, begin)
        return
    while chunk := list(islice(numbered, CHUNK_SENTENCES)):
        yield from _independent(stepper, vocabulary, [_read(vocabulary, *each, begin) for each in chunk])


def _joined(vocabulary: Vocabulary, after: str) -> str:
    """A context with a blank at its end where the blank is a token that a word of the sentence must not begin with.

    Where words begin with their blanks, it is one without.
    """
    if isinstance(vocabulary, DividesWords):
        return after.rstrip(" \t\r")
    return after + " " if after and not after[-1].isspace() and _blanks_are_tokens(vocabulary) else after


def _blanks_are_tokens(vocabulary: Vocabulary) -> bool:
    return bool(vocabulary.encode(" ")) and not isinstance(vocabulary, DividesWords)


def _read(vocabulary: Vocabulary, number: int, sentence: str, begin: Sequence[int]) -> _Sentence:
    within = bool(begin) and begin[-1] != vocabulary.line_end
    ids, words = aligned(vocabulary, sentence.replace("\n", " "), within=within)
    shift = len(begin)
    words = [word._replace(start=word.start + shift, stop=word.stop + shift) for word in words]
    if words and _blanks_are_tokens(vocabulary):
        ids = [*ids, vocabulary.line_end]
        words[-1] = words[-1]._replace(stop=words[-1].stop + 1)
    return _Sentence(number, [*begin, *ids], words)


def _independent(stepper: Reader, vocabulary: Vocabulary, sentences: Sequence[_Sentence]) -> Iterator[SurprisalRow]:
    """The rows of sentences that do not depend on each other; those of similar length share a batch."""
    size = min(BATCH_SENTENCES, max(1, BATCH_SCORES // len(vocabulary)))
    # int8 steps round their inputs in larger batches only; columns of padding make the result of a sentence independent
    # of the number of the others
    least = SMALL_INTEGER_BATCH + 1 if getattr(stepper, "weights", "float32") == "int8" else 1
    order = sorted(range(len(sentences)), key=lambda index: len(sentences[index].inputs))
    rows: list[list[SurprisalRow]] = [[] for _ in sentences]
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        longest = len(sentences[batch[-1]].inputs)
        inputs = torch.full((longest, max(len(batch), least)), vocabulary.line_end)
        for column, index in enumerate(batch):
            inputs[: len(sentences[index].inputs), column] = torch.tensor(sentences[index].inputs)
        bits, entropies, _ = _measured(stepper, inputs, _Carried(stepper.initial_state(inputs.shape[1]), None))
        for column, index in enumerate(batch):
            rows[index] = list(_rows(vocabulary, sentences[index], bits[:, column], entropies[:, column]))
    for of_sentence in rows:
        yield from of_sentence


def _document(
    stepper: Reader,
    vocabulary: Vocabulary,
    sentences: Iterable[tuple[int, str]],
    begin: Sequence[int],
) -> Iterator[SurprisalRow]:
    """The rows of sentences that follow each other; the state is carried."""
    carried = _Carried(stepper.initial_state(1), None)
    for number, text in sentences:
        sentence = _read(vocabulary, number, text, begin)
        if not sentence.words:
            continue
        bits, entropies, carried = _measured(stepper, torch.tensor(sentence.inputs)[:, None], carried)
        yield from _rows(vocabulary, sentence, bits[:, 0], entropies[:, 0])
        # a line end that has been read already is not repeated
        begin = [] if sentence.inputs[-1] == vocabulary.line_end else [vocabulary.line_end]


def _measured(stepper: Reader, inputs: Tensor, carried: _Carried) -> tuple[Tensor, Tensor, _Carried]:
    """The bits of each id (T, B) after those before it, and the entropy in bits before each id and at the end.

    The entropies are (T + 1, B). Both are 0 for an id before which nothing has been read.
    """
    inputs = inputs.to(stepper.device)
    state, log_probabilities = carried
    bits = torch.zeros(inputs.shape, dtype=torch.float64)
    entropies = torch.zeros((len(inputs) + 1, inputs.shape[1]), dtype=torch.float64)
    if log_probabilities is not None:
        entropies[0] = _entropy(log_probabilities)
    for position, ids in enumerate(inputs):
        if log_probabilities is not None:
            bits[position] = -log_probabilities.gather(1, ids[:, None])[:, 0] / math.log(2)
        log_probabilities, state = stepper.step(ids, state)
        entropies[position + 1] = _entropy(log_probabilities)
    return bits, entropies, _Carried(state, log_probabilities)


def _entropy(log_probabilities: Tensor) -> Tensor:
    # -p ln p is 0 where p is 0
    nats: Tensor = torch.special.entr(log_probabilities.exp()).sum(1)
    return nats / math.log(2)


def _rows(vocabulary: Vocabulary, sentence: _Sentence, bits: Tensor, entropies: Tensor) -> Iterator[SurprisalRow]:
    has_entropy = not _blanks_are_tokens(vocabulary)
    for number, word in enumerate(sentence.words, 1):
        ids = sentence.inputs[word.start : word.stop]
        unknown = vocabulary.count_unseen(word.text, ids) > 0
        before, after = float(entropies[word.start]), float(entropies[word.stop])
        yield SurprisalRow(
            sentence=sentence.number,
            word_number=number,
            word=word.text,
            surprisal_bits=float(bits[word.start : word.stop].sum()),
            frequency=None if unknown else frequency(vocabulary, ids),
            unknown=unknown,
            entropy_bits=before if has_entropy else None,
            reduction_bits=before - after if has_entropy else None,
        )
