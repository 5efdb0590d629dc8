"""Compares an exported tagger with the library's on random and on real sentences.

T words in the longest sentence, B sentences, F features of a word, K tags.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import torch

from refrain.data.tagged.buckets import PADDING, Encoded
from refrain.errors import CheckpointError
from refrain.models import Tagger, evaluating, pack_tagger
from refrain.nn.kernels.packed_linear import WeightType
from refrain.nn.step_graph import Operation, TaggerGraph
from refrain.progress import Track, untracked

from .proof import checked, float32_copy

LENGTHS = ((1,), (40,), (3, 5, 1), (2, 2, 2, 1, 2), (17, 4))
"""The lengths of random sentences that are tagged together."""
TOGETHER = 8
TIMED = 20
FEW = 1e-3
"""The share of tags that may differ in float32, where two tags are as probable."""
INT8_CHANGE = 0.01
"""The largest difference of the accuracy of int8 weights from that of float32."""


class TagRunner(Protocol):
    """Runs an exported tagger."""

    def __call__(self, ids: Any) -> tuple[Any, Any]:
        """ids (B, T, 1 + F), negative after the end of a sentence -> log-probabilities (B, T, K) and tags (B, T)."""
        ...


@dataclass(frozen=True)
class TaggerProof:
    """What the comparison found.

    Attributes:
        max_difference: the largest difference of log-probabilities from the library's, with the same weights; relative
            for those below -1.
        words: the number of words of real sentences.
        other_tags: how many of them have another tag than in the library, with the same weights.
        accuracy: of the exported tagger on words with annotation.
        library_accuracy: of the library's tagger on them, in float32.
        ms_per_word: of the exported tagger, one sentence at a time.
        library_ms_per_word: of the library's, with packed weights.
    """

    max_difference: float
    words: int
    other_tags: int
    accuracy: float
    library_accuracy: float
    ms_per_word: float
    library_ms_per_word: float

    def document(self) -> dict[str, Any]:
        """The figures as plain data."""
        return asdict(self)


class TaggerReference:
    """The library's tagger behind the interface of an exported one, in float64.

    Args:
        model: the tagger, which is copied.
        weights: `int8` rounds the matrices.
    """

    def __init__(self, model: Tagger, weights: WeightType) -> None:
        self._model = float32_copy(model, weights)
        # the sums over a sentence lose digits in float32
        self._model.double()

    @torch.no_grad()
    def __call__(self, ids: Any) -> tuple[Any, Any]:
        """See `TagRunner`; tags are -1 and log-probabilities 0 after the end of a sentence."""
        inputs = torch.from_numpy(np.array(ids)).transpose(0, 1)
        with evaluating(self._model):
            found = self._model.predict(inputs)
        is_word = inputs[..., 0] >= 0
        log_probabilities = torch.zeros(*is_word.shape, found.logits.shape[1], dtype=torch.float64)
        log_probabilities[is_word] = found.logits.log_softmax(-1)
        tags = torch.full(is_word.shape, PADDING)
        tags[is_word] = found.tags
        return log_probabilities.transpose(0, 1).numpy(), tags.T.numpy()


def compare_tags(
    run: TagRunner,
    model: Tagger,
    graph: TaggerGraph,
    sentences: Sequence[Encoded],
    *,
    weights: WeightType,
    tolerance: float | None,
    words: int,
    track: Track = untracked,
) -> TaggerProof:
    """Compare an exported tagger with the library's.

    Args:
        run: runs the exported tagger.
        model: the library's tagger.
        graph: its function.
        sentences: real sentences with their tags, of which the first are tagged.
        weights: of the exported tagger.
        tolerance: the largest `max_difference` that is allowed; None where inputs are rounded as well.
        words: how many words are tagged at most.
        track: reports the loop over the sentences.

    Raises:
        CheckpointError: when the two do not agree.
    """
    same, plain = TaggerReference(model, weights), TaggerReference(model, "float32")
    worst = max(checked(_difference(run(ids), same(ids), ids), tolerance) for ids in random_sentences(graph))
    chosen = _first(sentences, words)
    counted = other = known = 0
    right = [0, 0]
    starts = range(0, len(chosen), TOGETHER)
    for start in track(starts, "comparing the exported tagger with the run's, in batches", len(starts)):
        ids, true = _padded(chosen[start : start + TOGETHER])
        found, expected = run(ids), same(ids)
        worst = max(worst, checked(_difference(found, expected, ids), tolerance))
        counted += int((ids[..., 0] >= 0).sum())
        other += int((found[1] != expected[1]).sum())
        known += int((true >= 0).sum())
        for index, tags in enumerate((found[1], plain(ids)[1])):
            right[index] += int(((tags == true) & (true >= 0)).sum())
    accuracy, library = (count / max(known, 1) for count in right)
    if tolerance is not None and other > FEW * counted + 1:
        raise CheckpointError(
            f"{other:,} of {counted:,} words have another tag than the run's model gives them; nothing was written; "
            "please report this"
        )
    if abs(accuracy - library) > INT8_CHANGE:
        raise CheckpointError(
            f"the accuracy is {accuracy:.4f} in {weights} and {library:.4f} in float32, which differ by more than "
            f"{INT8_CHANGE}; nothing was written; export it with --weights float32"
        )
    packed = pack_tagger(model, weights=weights)
    few = [_padded([sentence])[0] for sentence in chosen[:TIMED]]
    own, library_ms = _milliseconds(run, packed, few)
    return TaggerProof(worst, counted, other, accuracy, library, own, library_ms)


def random_sentences(graph: TaggerGraph) -> list[Any]:
    """Random ids (B, T, 1 + F) of sentences of several lengths."""
    draw = np.random.default_rng(1)
    gathers = [item for item in graph.body if isinstance(item, Operation) and item.kind == "gather"]
    sizes = []
    for name in graph.columns:
        own = [item for item in gathers if item.inputs[0] == name]
        sizes.append(max(int(item.numbers[0]) + len(graph.weights[item.inputs[1]]) for item in own))
    found = []
    for lengths in LENGTHS:
        ids = np.zeros((len(lengths), max(lengths), len(sizes)), np.int64)
        ids[..., 0] = PADDING
        for row, length in zip(ids, lengths, strict=True):
            row[:length] = draw.integers(0, sizes, (length, len(sizes)))
        found.append(ids)
    return found


def _difference(ours: tuple[Any, Any], theirs: tuple[Any, Any], ids: Any) -> float:
    """The largest difference of the log-probabilities of words, divided by those below -1.

    It is infinite for other shapes and what is no number.
    """
    if any(a.shape != b.shape for a, b in zip(ours, theirs, strict=True)):
        return float("inf")
    is_word = ids[..., 0] >= 0
    found = float((np.abs(ours[0] - theirs[0]) / np.maximum(1, np.abs(theirs[0])))[is_word].max(initial=0.0))
    padding = bool((ours[1][~is_word] == PADDING).all())
    return found if np.isfinite(found) and padding else float("inf")


def _first(sentences: Sequence[Encoded], words: int) -> list[Encoded]:
    """The first sentences, up to a number of words in all, but at least one."""
    ends = np.cumsum([len(sentence.inputs) for sentence in sentences])
    return list(sentences[: max(1, int((ends <= words).sum()))])


def _padded(sentences: Sequence[Encoded]) -> tuple[Any, Any]:
    """Ids (B, T, 1 + F) and tags (B, T) of sentences."""
    longest = max(len(sentence.inputs) for sentence in sentences)
    ids = np.zeros((len(sentences), longest, sentences[0].inputs.shape[1]), np.int64)
    ids[..., 0] = PADDING
    true = np.full((len(sentences), longest), PADDING)
    for index, (inputs, tags) in enumerate(sentences):
        ids[index, : len(inputs)] = inputs
        true[index, : len(tags)] = tags
    return ids, true


def _milliseconds(run: TagRunner, packed: Tagger, sentences: Sequence[Any]) -> tuple[float, float]:
    """The time of a word for the exported tagger and for the library's, in turns; the shortest of three passes."""

    @torch.no_grad()
    def library(ids: Any) -> None:
        packed.predict(torch.from_numpy(ids).transpose(0, 1))

    seconds: list[list[float]] = [[], []]
    each: tuple[Callable[[Any], Any], ...] = (run, library)
    for _ in range(3):
        for own, tag in zip(seconds, each, strict=True):
            start = time.perf_counter()
            for ids in sentences:
                tag(ids)
            own.append(time.perf_counter() - start)
    count = max(sum(ids.shape[1] for ids in sentences), 1)
    return min(seconds[0]) / count * 1000, min(seconds[1]) / count * 1000
