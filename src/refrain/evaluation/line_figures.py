"""The figures of each line of a text by a language model, and of each sentence by a tagger: what a test draws from.

N lines or sentences.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from refrain.data import Corpus, TagVocabulary
from refrain.data.tagged.buckets import encode_sentences
from refrain.data.tagged.sentences import MISSING, Sentence
from refrain.models import Network, Tagger, stepper_of
from refrain.progress import Track, untracked

from .perplexity import protocol_windows, stream_nats
from .score import nats_of_lines
from .surprisal import Context
from .tagging import predict_tags


class LineFigures(NamedTuple):
    """What a model has for each line.

    Attributes:
        values: the nats of a line, or the right words of a sentence (N,).
        sizes: the scored tokens of a line, or the words of a sentence that have a tag (N,).
        unknown: the number of tokens, or words, that the model does not know, in all lines.
    """

    values: NDArray[np.float64]
    sizes: NDArray[np.float64]
    unknown: int


def line_nats(
    model: Network, corpus: Corpus, split: str, *, context: Context = "document", track: Track = untracked
) -> LineFigures:
    """The nats of each line of a split, its end included.

    Args:
        model: the model.
        corpus: the text, in the ids of the model.
        split: the split of the corpus.
        context: `document` carries the state through the text as the protocol `exact` does, where the first token is
            not scored; `sentence` scores each line independently, after a line end, as `score_lines` does.
        track: reports the loop over the text.
    """
    vocabulary, tokens = corpus.vocabulary, corpus.splits[split].tokens
    end = vocabulary.line_end
    if context == "sentence":
        ids = np.asarray(tokens.read(0, len(tokens)), np.int64)
        lines = [part.tolist() for part in np.split(ids, np.flatnonzero(ids == end) + 1) if len(part)]
        nats = np.array(nats_of_lines(stepper_of(model), vocabulary, lines))
        sizes = np.array([len(line) for line in lines], np.float64)
        return LineFigures(nats, sizes, _unknown(ids, vocabulary.unknown))
    targets, costs = [], []
    windows = protocol_windows(tokens, "exact", split=split, window_steps=0, name=corpus.name)
    for wanted, window in stream_nats(model, windows, track=track):
        targets.append(wanted[:, 0].numpy().astype(np.int64))
        costs.append(window[:, 0].double().cpu().numpy())
    ids, each = np.concatenate(targets), np.concatenate(costs)
    starts = np.concatenate([[0], np.flatnonzero(ids[:-1] == end) + 1])
    sizes = np.diff(np.concatenate([starts, [len(ids)]])).astype(np.float64)
    return LineFigures(np.add.reduceat(each, starts), sizes, _unknown(ids, vocabulary.unknown))


def _unknown(ids: NDArray[np.int64], unknown: int | None) -> int:
    return 0 if unknown is None else int(np.count_nonzero(ids == unknown))


def sentence_hits(model: Tagger, vocabulary: TagVocabulary, sentences: Sequence[Sentence]) -> LineFigures:
    """The right words of each sentence by a tagger. Words without a tag count nowhere.

    Args:
        model: the tagger, whose mode is restored at the end.
        vocabulary: its vocabulary.
        sentences: the sentences with their true tags.
    """
    right, words = np.zeros(len(sentences)), np.zeros(len(sentences))
    predicted = predict_tags(model, encode_sentences(sentences, vocabulary))
    for place, (sentence, tags) in enumerate(zip(sentences, predicted, strict=True)):
        pairs = [(tag, vocabulary.tags[index]) for tag, index in zip(sentence.tags, tags, strict=True)]
        words[place] = sum(tag != MISSING for tag, _ in pairs)
        right[place] = sum(tag == found for tag, found in pairs)
    unknown = sum(not vocabulary.saw(word) for sentence in sentences for word in sentence.words)
    return LineFigures(right, words, unknown)
