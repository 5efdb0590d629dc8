"""Starts a run from the best weights of another, whose text may have another vocabulary."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from refrain.assembly.model import build_language_model
from refrain.assembly.tagger import build_tagger
from refrain.config import AnyExperiment, Experiment, TaggerExperiment
from refrain.data import UNITS, Corpus, TaggedCorpus, TagVocabulary, Vocabulary, vocabulary_from
from refrain.data.tagged.vocabulary import RARE, tag_vocabulary_from
from refrain.data.units.protocol import CountsTokens
from refrain.data.units.table import same_tokens
from refrain.data.units.word.vocabulary import UNK
from refrain.errors import CheckpointError, DataError, UserError
from refrain.models import LanguageModel, Tagger
from refrain.models.other_vocabulary import NEVER, Units, carried_over, count_shortened
from refrain.nn import SparseEmbedding
from refrain.storage.checkpoint import Checkpoint
from refrain.training import Task, load_weights
from refrain.training.sparsifier import Sparsifier

from .config_document import experiment_from
from .fit_check import check_fit
from .loading import find_checkpoint
from .own_names import own_name

RARE_SHARE = 0.1
"""New tokens start from the mean of this share of the run's tokens, the rarest ones."""


def load_start(path: Path, model: nn.Module, corpus: Corpus | TaggedCorpus) -> dict[str, Any]:
    """Copy the best weights of a run into a new model, in place.

    Rows of tokens that the run knows are copied. Rows of new tokens, and of an `<unk>` that an imported model does not
    have, start at the mean of the rows of the run's rarest tokens; in a tagger, at the row that stood for what the run
    does not know, and new tags at the mean of all tags.

    Args:
        path: the run folder.
        model: the new model, whose shape is that of the run but for the vocabulary.
        corpus: the corpus of the new run.

    Returns:
        A record for the manifest: `run`, `checkpoint`, `compressed` where `path` is a temporary folder with that run,
        compressed, and in `units` for words (or the unit of the vocabulary), and for features and tags of a tagger: how
        many are `known` and `new`, and how many of the run's are `left_out`; where new ones start at a mean, that of
        how many, as `mean_of`. A sparse embedding also has `shorter_vectors`.

    Raises:
        CheckpointError: when a shape differs, or the vocabulary where its rows cannot be carried over.
    """
    checkpoint = find_checkpoint(path)
    before = checkpoint.document("vocabulary")
    record = _origin(path, checkpoint)
    never = _never_predicted(before, checkpoint) if type(model) is LanguageModel else None
    if never is None and same_tokens(before, corpus.vocabulary.document()):
        unit = f"{corpus.vocabulary.unit}s" if isinstance(corpus, Corpus) else "words"
        record["units"] = {unit: {"known": len(corpus.vocabulary), "new": 0, "left_out": 0}}
        weights = checkpoint.tensors("model")
    else:
        experiment = experiment_from(checkpoint.document("config"), checkpoint.folder)
        _check_carries(path, experiment, checkpoint, model, corpus)
        trained, widths, record["units"] = _compared(experiment, checkpoint, corpus.vocabulary, never)
        # read once it is known that the settings of that run ask for no more
        weights = carried_over(checkpoint.tensors("model"), trained, model, widths)
        embedding: Any = model.embedding
        if isinstance(trained.embedding, SparseEmbedding) and isinstance(embedding, SparseEmbedding):
            record["shorter_vectors"] = count_shortened(trained.embedding, embedding, widths["vocabulary"].source)
    try:
        load_weights(model, weights)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}; give the model settings of that run") from None
    return record


def check_freezing(experiment: AnyExperiment, task: Task) -> None:
    """Check that there is something to freeze at the start, if the settings ask for it.

    Args:
        experiment: the settings of the run.
        task: the task, with its initial weights.

    Raises:
        UserError: when `sparsity.freeze` finds no zeros.
    """
    sparsifier = task.methods.get("sparsifier")
    if not isinstance(experiment, Experiment) or experiment.sparsity.freeze == "none":
        return
    if isinstance(sparsifier, Sparsifier) and not sparsifier.masks.kept:
        what = "nothing is zero" if experiment.sparsity.freeze == "elements" else "no unit is dead"
        raise UserError(f"sparsity.freeze: {what} at the start; start from a sparse run with --from RUN")


def _origin(path: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    """The run and its checkpoint; for a compressed model in a temporary folder, those that it was made of."""
    training = None
    # a checkpoint that was packed has none
    with contextlib.suppress(CheckpointError):
        training = checkpoint.document("training")
    if isinstance(training, dict) and isinstance(training.get("start_of"), str):
        original = Path(str(training.get("compressed_from"))).name
        return {"run": training["start_of"], "checkpoint": original, "compressed": True}
    return {"run": str(path), "checkpoint": checkpoint.folder.name}


def _check_carries(
    path: Path, experiment: AnyExperiment, checkpoint: Checkpoint, model: nn.Module, corpus: Corpus | TaggedCorpus
) -> None:
    """Check that rows can be carried over from the vocabulary of a run to that of a corpus."""
    remedy = f"give its corpus, {experiment.data.corpus}, with --data, and the same data settings"
    if own_name(checkpoint.document("config")) is not None or type(model) not in (LanguageModel, Tagger):
        raise CheckpointError(
            f"{path}: was trained with another vocabulary, and rows of words are carried over only for models that are "
            f"built from settings, not for a network of your own; {remedy}"
        )
    unit = "tag" if isinstance(experiment, TaggerExperiment) else experiment.data.unit
    if unit != corpus.vocabulary.unit:
        raise CheckpointError(
            f"{path}: was trained on {unit}s, but the new run reads {corpus.vocabulary.unit}s; give data.unit={unit}"
        )
    if unit in UNITS and not UNITS[unit].exchangeable:
        raise CheckpointError(
            f"{path}: was trained with other pieces of words, which cannot be exchanged; read the text with its own: "
            f"data.vocabulary={path}"
        )


def _never_predicted(vocabulary: Any, checkpoint: Checkpoint) -> int | None:
    """The id of the `<unk>` that was added to an imported model, whose probability is zero; None in other models."""
    words = vocabulary.get("words") if isinstance(vocabulary, dict) else None
    # the words of a training here were counted
    if not isinstance(words, list) or UNK not in words or "counts" in vocabulary:
        return None
    unknown, shape = words.index(UNK), checkpoint.shapes("model").get("head.bias", ())
    if shape != (len(words),):
        return None
    # training moves it by little
    return unknown if float(checkpoint.tensors("model")["head.bias"][unknown]) < NEVER / 2 else None


def _compared(
    experiment: AnyExperiment, checkpoint: Checkpoint, vocabulary: Any, never: int | None
) -> tuple[Any, dict[str, Units], dict[str, Any]]:
    """The layout of the trained model, where the units of each width come from, and a record of it."""
    try:
        if isinstance(experiment, TaggerExperiment):
            before: Any = tag_vocabulary_from(checkpoint.document("vocabulary"))
        else:
            before = vocabulary_from(checkpoint.document("vocabulary"))
    except DataError as error:
        raise CheckpointError(f"{checkpoint.folder / 'vocabulary.json'}: {error}") from None
    check_fit(experiment, before, checkpoint)
    trained = _layout(experiment, before)
    if isinstance(experiment, TaggerExperiment):
        return trained, *_tagger_units(before, vocabulary)
    rare = _rarest(before, experiment)
    known = [None if index == never else token for index, token in enumerate(before)]
    units, counts = _units(known, list(vocabulary), rare)
    counts["left_out"] -= never is not None
    counts["mean_of"] = len(rare)
    return trained, {"vocabulary": units}, {f"{before.unit}s": counts}


def _layout(experiment: AnyExperiment, vocabulary: Any) -> Any:
    """A model without memory for its weights; no random numbers are drawn for them."""
    with torch.device("meta"):
        if isinstance(experiment, TaggerExperiment):
            return build_tagger(experiment.model, vocabulary)
        return build_language_model(experiment, vocabulary)


def _tagger_units(before: TagVocabulary, after: TagVocabulary) -> tuple[dict[str, Units], dict[str, Any]]:
    # what the run did not know was read as <unk> or <rare>, so that its answers stay the same
    found = {"vocabulary": _units(before.words, after.words, [before.unknown])}
    if before.features and after.features:
        found["features"] = _units(before.features, after.features, [before.feature_index[RARE]])
    found["tags"] = _units(before.tags, after.tags, list(range(len(before.tags))))
    names = {"vocabulary": "words"}
    units = {width: each for width, (each, _) in found.items()}
    return units, {names.get(width, width): counts for width, (_, counts) in found.items()}


def _units(before: Sequence[Any], after: Sequence[Any], initial: Sequence[int]) -> tuple[Units, dict[str, int]]:
    index = {token: place for place, token in enumerate(before)}
    source = torch.tensor([index.get(token, -1) for token in after])
    known = int((source >= 0).sum())
    counts = {"known": known, "new": len(after) - known, "left_out": len(before) - known}
    return Units(source, torch.tensor(initial)), counts


def _rarest(vocabulary: Vocabulary, experiment: Experiment) -> list[int]:
    """The ids of the rarest tenth of the tokens, of which there is at least one.

    They are known by the counts that a vocabulary of words has, or by the order of the ids; otherwise, as for an
    imported model, all tokens are taken.
    """
    ids = [index for index in range(len(vocabulary)) if index not in (vocabulary.line_end, vocabulary.unknown)]
    ids = ids or list(range(len(vocabulary)))
    number = max(1, round(RARE_SHARE * len(ids)))
    counts = vocabulary.counts if isinstance(vocabulary, CountsTokens) else None
    if counts is not None:
        return sorted(ids, key=counts.__getitem__)[:number]
    order = experiment.data.order if experiment.data.vocabulary is None else "first-seen"
    return {"descending": ids[-number:], "ascending": ids[:number]}.get(order, ids)
