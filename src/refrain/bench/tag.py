"""The accuracy and training time of taggers on one corpus and one thread: a recipe, and CRFsuite if it is installed."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from refrain.assembly.backend import choose_backends
from refrain.assembly.tagged_corpus import build_tagged_corpus
from refrain.assembly.tagger import build_tagger, build_tagger_task
from refrain.config import TaggerExperiment
from refrain.data import Sentence, TaggedCorpus
from refrain.data.tagged.buckets import encode_sentences
from refrain.data.tagged.sentences import MISSING
from refrain.errors import DataError
from refrain.evaluation.share import Share, Z
from refrain.evaluation.tagging import predict_tags
from refrain.models import pack_tagger
from refrain.storage.run_folder import RunFolder
from refrain.training import Fit, Interrupt, Metrics, Position, load_weights
from refrain.training.progress import Progress, loss_text

from .tag_features import sentence_features
from .timing import one_thread

CRF = "CRF (sklearn-crfsuite)"
# the regularisation and the number of iterations that the documentation of sklearn-crfsuite uses
CRF_SETTINGS = {"algorithm": "lbfgs", "c1": 0.1, "c2": 0.1, "max_iterations": 100, "all_possible_transitions": True}
# 97.5 % quantiles of Student's t distribution with 1, 2, ... degrees of freedom
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


def student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t distribution.

    From 11 degrees of freedom on it is the first terms of its expansion about the normal quantile, which are right to
    0.0002 (Abramowitz & Stegun, 1964, 26.7.5).

    Args:
        freedom: the degrees of freedom, at least 1.
    """
    if freedom <= len(STUDENT):
        return STUDENT[freedom - 1]
    terms = ((Z**3 + Z) / 4, (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96, (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384)
    first, second, third = terms
    return Z + first / freedom + second / freedom**2 + third / freedom**3


class Trained(NamedTuple):
    """A trained tagger's result.

    Attributes:
        hits: for each word of the test text, whether its tag is right.
        seconds: the processor time of training.
    """

    hits: NDArray[np.bool_]
    seconds: float


def has_crf() -> bool:
    """Whether sklearn-crfsuite is installed."""
    return find_spec("sklearn_crfsuite") is not None


def bench_tag(
    experiment: TaggerExperiment, *, repeats: int, progress: Callable[[], Progress], log: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Train a tagger with several seeds, and a conditional random field, and measure both on the test sentences.

    Each model is trained on one thread. The tagger is trained as by `refrain train`: with a validation and a checkpoint
    after each epoch, and the best epoch is measured.

    Args:
        experiment: the settings of the tagger; its seed is the first one.
        repeats: the number of seeds.
        progress: makes the progress report of a training.
        log: called with a line of text before each training.

    Returns:
        A row for each tagger: `name`, `runs`, `words`, `accuracy` and `unseen` as means over the seeds, their
        intervals and standard deviations, `cpu_seconds` of a training, and `difference` in accuracy to the conditional
        random field with its `difference_interval`, and the same of unseen words as `unseen_difference`.

    Raises:
        DataError: when the corpus is missing or damaged, or has no test sentences.
    """
    corpus = build_tagged_corpus(experiment.data, experiment.training.unknown_rate, log)
    if "test" not in corpus.splits:
        raise DataError(f"{corpus.name}: has no test sentences to measure on; give a folder with a file for them")
    test = corpus.splits["test"].sentences
    words = [word for each in test for word, tag in zip(each.words, each.tags, strict=True) if tag != MISSING]
    unseen = np.array([not corpus.vocabulary.saw(word) for word in words])
    results: dict[str, list[Trained]] = {}
    with one_thread():
        if has_crf():
            log(f"training {CRF}, which reports nothing until it ends")
            results[CRF] = [_train_crf(corpus.splits["train"].sentences, test)]
        for seed in range(experiment.training.seed, experiment.training.seed + repeats):
            log(f"training {experiment.name}, seed {seed}")
            with progress() as report:
                report.begin(partial(loss_text, tagger=True))
                results.setdefault(experiment.name, []).append(_train(experiment, corpus, seed, report))
    return [_row(name, runs, unseen, results.get(CRF)) for name, runs in results.items()]


def _train_crf(train: Sequence[Sentence], test: Sequence[Sentence]) -> Trained:
    import sklearn_crfsuite

    started = time.process_time()
    model = sklearn_crfsuite.CRF(**CRF_SETTINGS)
    features: list[Any] = []
    tags: list[list[str]] = []
    for each in train:
        rows = zip(sentence_features(each.words), each.tags, strict=True)
        # it knows no missing tags, so that it learns from the words between them
        for missing, part in groupby(rows, key=lambda row: row[1] == MISSING):
            if not missing:
                own, wanted = zip(*part, strict=True)
                features.append(list(own))
                tags.append(list(wanted))
    model.fit(features, tags)
    seconds = time.process_time() - started
    found = model.predict([sentence_features(each.words) for each in test])
    return Trained(_hits(found, test), seconds)


def _train(experiment: TaggerExperiment, corpus: TaggedCorpus, seed: int, report: Progress) -> Trained:
    settings = experiment.training.model_copy(update={"seed": seed, "device": "cpu"})
    experiment = experiment.model_copy(update={"training": settings})
    vocabulary = corpus.vocabulary
    started = time.process_time()
    torch.manual_seed(seed)
    model = build_tagger(experiment.model, vocabulary)
    choose_backends(settings, model)
    task = build_tagger_task(experiment, corpus, model)
    with TemporaryDirectory(prefix="refrain-bench-") as folder:
        run = RunFolder(Path(folder) / "run")
        run.create()
        with run.locked():
            # signals are not caught, because there is no run to resume
            position = Fit(task, run, {}, Metrics(run), report, Interrupt())(Position(), None)
        assert position.best is not None
        load_weights(model, run.checkpoint(position.best.step).tensors("model"))
    seconds = time.process_time() - started
    test = corpus.splits["test"].sentences
    found = predict_tags(pack_tagger(model), encode_sentences(test, vocabulary))
    return Trained(_hits([[vocabulary.tags[tag] for tag in tags] for tags in found], test), seconds)


def _hits(found: Sequence[Sequence[str]], sentences: Sequence[Sentence]) -> NDArray[np.bool_]:
    """Whether the tag of each word is right; words without annotation are left out."""
    return np.array(
        [
            one == other
            for tags, each in zip(found, sentences, strict=True)
            for one, other in zip(tags, each.tags, strict=True)
            if other != MISSING
        ]
    )


def _row(
    name: str, runs: Sequence[Trained], unseen: NDArray[np.bool_], crf: Sequence[Trained] | None
) -> dict[str, Any]:
    hits = np.array([run.hits for run in runs])
    row = {"name": name, "runs": len(runs), "words": hits.shape[1], "unseen_words": int(unseen.sum())}
    for key, part in (("accuracy", hits), ("unseen", hits[:, unseen])):
        shares = part.mean(axis=1).tolist() if part.size else []
        row |= _mean(key, shares, part.shape[1])
    row["cpu_seconds"] = statistics.fmean(run.seconds for run in runs)
    others = None if crf is None or crf is runs else crf[0].hits
    for key, part in (("difference", np.ones_like(unseen)), ("unseen_difference", unseen)):
        row |= _difference(key, hits[:, part], None if others is None else others[part])
    return row


def _mean(key: str, shares: Sequence[float], words: int) -> dict[str, Any]:
    """The mean over the seeds, its interval, which is that of the words with a single run, and the deviation."""
    if not shares:
        return {key: None, f"{key}_interval": None, f"{key}_deviation": None}
    mean = statistics.fmean(shares)
    if len(shares) == 1:
        return {key: mean, f"{key}_interval": Share(round(mean * words), words).interval, f"{key}_deviation": None}
    deviation = statistics.stdev(shares)
    half = student(len(shares) - 1) * deviation / math.sqrt(len(shares))
    return {key: mean, f"{key}_interval": (max(0.0, mean - half), min(1.0, mean + half)), f"{key}_deviation": deviation}


def _difference(key: str, hits: NDArray[np.bool_], others: NDArray[np.bool_] | None) -> Mapping[str, Any]:
    """The mean difference in accuracy over the words, with the interval of a paired comparison.

    Both are None without another tagger, and for fewer than two words.
    """
    if others is None or len(others) < 2:
        return {key: None, f"{key}_interval": None}
    each = hits.mean(axis=0) - others
    mean = float(each.mean())
    half = Z * float(each.std(ddof=1)) / math.sqrt(len(each))
    return {key: mean, f"{key}_interval": (mean - half, mean + half)}
