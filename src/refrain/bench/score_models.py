"""A network, an n-gram model and their mixture on the same lines: perplexity, speed, memory and size."""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from refrain.data import Vocabulary, WordVocabulary
from refrain.evaluation import score_lines
from refrain.evaluation.interpolation import MixedStepper, ngram_nats
from refrain.evaluation.ngram.arpa import is_arpa
from refrain.evaluation.ngram.words import read_word_model
from refrain.models import LanguageModel, Stepper
from refrain.nn.kernels.packed_linear import WeightType

from .own_process import KENLM, NETWORK, NGRAMS, own_memory
from .score import UNIT, WEIGHTS
from .timing import interleaved, one_thread, rows_against

KENLM_ITSELF = "n-gram model (KenLM itself)"


def bench_models(
    model: LanguageModel,
    vocabulary: WordVocabulary,
    texts: Sequence[str],
    ngram: Path | None,
    weight: Callable[[MixedStepper], float],
    *,
    repeats: int,
    run: Path | None = None,
) -> list[dict[str, Any]]:
    """Score lines on one thread with each model, in turns.

    Args:
        model: the network.
        vocabulary: its vocabulary.
        texts: the lines, each of which is scored alone, with its end.
        ngram: the file of an n-gram model; None measures the network alone.
        weight: chooses the weight of the n-gram model in the mixture.
        repeats: the number of timed calls of each model.
        run: the run of the network; with it, the memory of each model is measured in a process of its own.

    Returns:
        A row for each model: tokens per second of the processor with `perplexity`, `memory`, the bytes that a process
        needs that loads the model and scores the lines, less those of an interpreter (None for mixtures, without a run
        and where the system does not tell), and `size`, the bytes of its weights or of its file.

    Raises:
        UserError: when a process whose memory is measured fails.
    """
    makers: dict[str, Callable[[], Callable[[], float]]] = {}
    processes: dict[str, tuple[str, list[str | Path]]] = {}
    sizes: dict[str, int] = {}
    with one_thread():
        for weights in WEIGHTS:
            makers[f"network, {weights}"] = partial(_packed, model, weights, vocabulary, texts)
            sizes[f"network, {weights}"] = _weight_bytes(model, weights)
            if run is not None:
                processes[f"network, {weights}"] = (NETWORK, [run, weights])
        if ngram is not None:
            for name, make in _ngram_makers(ngram, vocabulary, texts).items():
                makers[name], sizes[name] = make, ngram.stat().st_size
                if run is not None:
                    processes[name] = (KENLM, [ngram]) if name == KENLM_ITSELF else (NGRAMS, [run, ngram])
        memory = {name: own_memory(*process, texts) for name, process in processes.items()}
        found = {name: make() for name, make in makers.items()}
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


def _network(stepper: Any, vocabulary: Vocabulary, texts: Sequence[str]) -> Callable[[], float]:
    return lambda: sum(line.figure.nats for line in score_lines(stepper, vocabulary, texts))


def _ngram_makers(
    path: Path, vocabulary: WordVocabulary, texts: Sequence[str]
) -> dict[str, Callable[[], Callable[[], float]]]:
    reader = "ARPA, read by refrain" if is_arpa(path) else "KenLM, by words of the network"
    makers = {f"n-gram model ({reader})": lambda: _ngrams(path, vocabulary, texts)}
    if find_spec("kenlm"):
        makers[KENLM_ITSELF] = lambda: _kenlm(path, texts)
    return makers


def _ngrams(path: Path, vocabulary: WordVocabulary, texts: Sequence[str]) -> Callable[[], float]:
    model = read_word_model(path, vocabulary)
    return lambda: ngram_nats(model, vocabulary, texts)


def _kenlm(path: Path, texts: Sequence[str]) -> Callable[[], float]:
    import kenlm

    model = kenlm.Model(str(path))
    return lambda: -math.log(10) * sum(model.score(text, bos=True, eos=True) for text in texts)


def _weight_bytes(model: LanguageModel, weights: WeightType) -> int:
    if weights == "float32":
        return sum(4 * each.numel() for each in model.parameters())
    # a byte for an entry of a matrix, and a scale for a row
    return sum(each.numel() + 4 * each.shape[0] if each.ndim >= 2 else 4 * each.numel() for each in model.parameters())
