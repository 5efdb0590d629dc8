"""A network, an n-gram model and their mixture on the same lines: perplexity, speed, memory and size."""

import math
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from refrain.data import WordVocabulary
from refrain.evaluation import score_lines
from refrain.evaluation.interpolation import MixedStepper, contexts_after, first_contexts
from refrain.evaluation.ngram.arpa import is_arpa
from refrain.evaluation.ngram.words import read_word_model
from refrain.models import LanguageModel, Stepper
from refrain.nn.kernels.packed_linear import WeightType

from .score import UNIT, WEIGHTS
from .timing import interleaved, one_thread, rows_against


def bench_models(
    model: LanguageModel,
    vocabulary: WordVocabulary,
    texts: Sequence[str],
    ngram: Path | None,
    weight: Callable[[MixedStepper], float],
    *,
    repeats: int,
) -> list[dict[str, Any]]:
    """Score lines on one thread with each model, in turns.

    Args:
        model: the network.
        vocabulary: its vocabulary.
        texts: the lines, each of which is scored alone, with its end.
        ngram: the file of an n-gram model; None measures the network alone.
        weight: chooses the weight of the n-gram model in the mixture.
        repeats: the number of timed calls of each model.

    Returns:
        A row for each model: tokens per second of the processor with `perplexity`, `memory`, by how many bytes the
        process grew when the model was loaded, None for mixtures and where the system does not tell, and `size`, the
        bytes of its weights or of its file.
    """
    makers: dict[str, Callable[[], Callable[[], float]]] = {}
    sizes: dict[str, int] = {}
    with one_thread():
        for weights in WEIGHTS:
            makers[f"network, {weights}"] = partial(_packed, model, weights, vocabulary, texts)
            sizes[f"network, {weights}"] = _weight_bytes(model, weights)
        if ngram is not None:
            for name, make in _ngram_makers(ngram, vocabulary, texts).items():
                makers[name], sizes[name] = make, ngram.stat().st_size
        # all are loaded before any is used, which would leave memory that the next one takes
        found: dict[str, Callable[[], float]] = {}
        memory: dict[str, int | None] = {}
        for name, make in makers.items():
            before = _resident()
            found[name] = make()
            after = _resident()
            memory[name] = None if before is None or after is None else after - before
        if ngram is not None:
            words = read_word_model(ngram, vocabulary)
            for weights in WEIGHTS:
                stepper = Stepper(model, weights=weights)
                chosen = weight(MixedStepper(stepper, words, vocabulary, 0.0))
                name = f"mixture, {weights}, {chosen:.3f} of the n-gram model"
                found[name] = _network(MixedStepper(stepper, words, vocabulary, chosen), vocabulary, texts)
                sizes[name] = ngram.stat().st_size + _weight_bytes(model, weights)
        tokens = sum(len(vocabulary.encode(text + "\n")) for text in texts)
        perplexities = {name: math.exp(call() / tokens) for name, call in found.items()}
        rows = rows_against(
            next(iter(found)), interleaved(found, repeats=repeats, clock=time.process_time), tokens, UNIT
        )
    for each in rows:
        name = each["name"]
        each.update(perplexity=perplexities[name], memory=memory.get(name), size=sizes[name])
    return rows


def _packed(
    model: LanguageModel, weights: WeightType, vocabulary: WordVocabulary, texts: Sequence[str]
) -> Callable[[], float]:
    return _network(Stepper(model, weights=weights), vocabulary, texts)


def _network(stepper: Any, vocabulary: WordVocabulary, texts: Sequence[str]) -> Callable[[], float]:
    return lambda: sum(line.figure.nats for line in score_lines(stepper, vocabulary, texts))


def _ngram_makers(
    path: Path, vocabulary: WordVocabulary, texts: Sequence[str]
) -> dict[str, Callable[[], Callable[[], float]]]:
    reader = "ARPA, read by refrain" if is_arpa(path) else "KenLM, by words of the network"
    makers = {f"n-gram model ({reader})": lambda: _ngrams(path, vocabulary, texts)}
    if find_spec("kenlm"):
        makers["n-gram model (KenLM itself)"] = lambda: _kenlm(path, texts)
    return makers


def _ngrams(path: Path, vocabulary: WordVocabulary, texts: Sequence[str]) -> Callable[[], float]:
    model = read_word_model(path, vocabulary)

    def nats() -> float:
        ids = torch.tensor(vocabulary.encode("".join(f"{text}\n" for text in texts)))
        read = torch.cat([torch.tensor([vocabulary.line_end]), ids[:-1]])
        contexts = contexts_after(read[:, None], first_contexts(1, model.order - 1), vocabulary.line_end)[:, 0]
        return -float(model.log_probabilities(contexts.numpy(), ids.numpy()).sum())

    return nats


def _kenlm(path: Path, texts: Sequence[str]) -> Callable[[], float]:
    import kenlm

    model = kenlm.Model(str(path))
    return lambda: -math.log(10) * sum(model.score(text, bos=True, eos=True) for text in texts)


def _weight_bytes(model: LanguageModel, weights: WeightType) -> int:
    if weights == "float32":
        return sum(4 * each.numel() for each in model.parameters())
    # a byte for an entry of a matrix, and a scale for a row
    return sum(each.numel() + 4 * each.shape[0] if each.ndim >= 2 else 4 * each.numel() for each in model.parameters())


def _resident() -> int | None:
    """The bytes of the process in memory, or None where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
