"""Checks that the settings of a run fit the weights of its checkpoint, before a model is built."""

from functools import partial
from typing import Any

from refrain.assembly.model import build_language_model
from refrain.assembly.size_check import check_sizes
from refrain.assembly.tagger import build_tagger
from refrain.config import AnyExperiment, TaggerExperiment
from refrain.data import Corpus, TaggedCorpus
from refrain.data.units.table import same_tokens
from refrain.errors import CheckpointError
from refrain.storage.checkpoint import Checkpoint

from .own_network import OwnNetwork


def check_fit(experiment: AnyExperiment, vocabulary: Any, checkpoint: Checkpoint) -> None:
    """Check that the weights of a checkpoint are those of the model that the settings describe.

    Args:
        experiment: the settings.
        vocabulary: the vocabulary of the checkpoint.
        checkpoint: the checkpoint, whose tensors are not read.

    Raises:
        CheckpointError: when a name or a shape differs.
    """
    if isinstance(experiment, TaggerExperiment):
        build: Any = partial(build_tagger, experiment.model, vocabulary)
    else:
        build = partial(build_language_model, experiment, vocabulary)
    # a tensor without axes, and a matrix without rows, are of another model
    shape = checkpoint.shapes("model").get("embedding.weight", ())
    if shape and shape[0] not in (0, len(vocabulary)):
        raise CheckpointError(
            f"{checkpoint.folder}: its vocabulary has {len(vocabulary):,} tokens, but the weights are for "
            f"{shape[0]:,}; restore the checkpoint from a copy"
        )
    try:
        check_sizes(experiment.model, build, checkpoint.shapes("model"))
    except CheckpointError as error:
        raise CheckpointError(f"{checkpoint.folder}: {error}") from None


def check_corpus(
    experiment: AnyExperiment, corpus: Corpus | TaggedCorpus, checkpoint: Checkpoint, model: OwnNetwork | None
) -> None:
    """Check that a run can be continued on a corpus.

    Args:
        experiment: the settings of the run.
        corpus: the corpus.
        checkpoint: the checkpoint from which the run continues.
        model: the network given by the user, whose sizes the settings do not describe; None without one.

    Raises:
        CheckpointError: when the vocabulary differs from that of the checkpoint, or the weights are of another model.
    """
    if not same_tokens(checkpoint.document("vocabulary"), corpus.vocabulary.document()):
        if (tokens := getattr(experiment.data, "tokens", None)) is not None:
            raise CheckpointError(
                f"{checkpoint.folder}: the run was started with another {tokens}; put the file back as it was"
            )
        raise CheckpointError(f"{checkpoint.folder}: vocabulary.json differs from the vocabulary of {corpus.name}")
    if model is None:
        check_fit(experiment, corpus.vocabulary, checkpoint)
