"""Builds a model from its settings and fills it with the weights of a checkpoint."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast, get_args

from torch import nn

from refrain.assembly.corpus import own_split
from refrain.assembly.model import build_device, build_language_model
from refrain.assembly.tagged_corpus import column_of
from refrain.assembly.tagger import build_tagger
from refrain.config import AnyExperiment, Data, TaggerExperiment
from refrain.data import vocabulary_from
from refrain.data.tagged.vocabulary import tag_vocabulary_from
from refrain.errors import CheckpointError, DataError, UserError
from refrain.models.network_check import class_name
from refrain.nn import fold_weight_norm
from refrain.nn.kernels.packed_linear import WeightType
from refrain.storage.checkpoint import Checkpoint
from refrain.trained.language_model import TrainedLanguageModel
from refrain.trained.tagger import TrainedTagger
from refrain.training import load_weights

from .fit_check import check_fit
from .own_names import own_name
from .own_network import OwnNetwork, make_network

VocabularyT = TypeVar("VocabularyT")


def build(
    experiment: AnyExperiment, checkpoint: Checkpoint, own: OwnNetwork | None, device: str, weights: WeightType | None
) -> TrainedLanguageModel | TrainedTagger:
    """Build a trained model.

    Args:
        experiment: the settings of the run.
        checkpoint: the checkpoint with the weights.
        own: the network given by the user, or a function that makes it; None builds the one of the settings.
        device: `cpu`, `cuda` or `auto`.
        weights: `float32`, `int8`, or None for what the checkpoint has.

    Raises:
        CheckpointError: when the weights do not fit the settings or the given network.
        UserError: when the device is missing or unknown, or the weights are.
    """
    if weights is None:
        weights = "int8" if checkpoint.has_int8_weights else "float32"
    if weights not in get_args(WeightType):
        raise UserError(f"weights: must be one of {', '.join(get_args(WeightType))} (got {weights!r})")
    if own is not None:
        return _own(experiment, own, checkpoint, device, weights)
    if isinstance(experiment, TaggerExperiment):
        return _tagger(experiment, checkpoint, device, weights)
    vocabulary = _vocabulary(checkpoint, vocabulary_from)
    check_fit(experiment, vocabulary, checkpoint)
    model = build_language_model(experiment, vocabulary)
    load_weights(model, checkpoint.tensors("model"))
    # fold the norms into the weights, so that they are not computed again at each step
    fold_weight_norm(model)
    settings = experiment.model_dump(mode="json")
    return TrainedLanguageModel(
        model.to(build_device(device)),
        vocabulary,
        settings,
        checkpoint.folder,
        weights=weights,
        splits=partial(own_split, experiment.data),
    )


def _vocabulary(checkpoint: Checkpoint, read: Callable[[Any], VocabularyT]) -> VocabularyT:
    """The vocabulary of a checkpoint."""
    try:
        return read(checkpoint.document("vocabulary"))
    except DataError as error:
        path = checkpoint.folder / "vocabulary.json"
        problem = str(error).removeprefix("vocabulary: ")
        raise CheckpointError(f"{path}: {problem}; restore the file from a copy, or use another checkpoint") from None


def _tagger(experiment: TaggerExperiment, checkpoint: Checkpoint, device: str, weights: WeightType) -> TrainedTagger:
    vocabulary = _vocabulary(checkpoint, tag_vocabulary_from)
    check_fit(experiment, vocabulary, checkpoint)
    model = build_tagger(experiment.model, vocabulary)
    load_weights(model, checkpoint.tensors("model"))
    config = experiment.model_dump(mode="json")
    column = column_of(experiment.data.column, vocabulary)
    return TrainedTagger(model.to(build_device(device)), vocabulary, config, checkpoint.folder, column, weights=weights)


def _own(
    experiment: AnyExperiment, model: OwnNetwork, checkpoint: Checkpoint, device: str, weights: WeightType
) -> TrainedLanguageModel:
    document = checkpoint.document("config")
    vocabulary = _vocabulary(checkpoint, vocabulary_from)
    network = make_network(model, experiment, vocabulary)
    load_own_weights(network, checkpoint, own_name(document))
    settings = experiment.model_dump(mode="json")
    network = network.to(build_device(device))
    own = class_name(network)
    # a network of one's own is a language model, and so are its data settings
    splits = partial(own_split, cast(Data, experiment.data))
    return TrainedLanguageModel(
        network, vocabulary, settings, checkpoint.folder, weights=weights, own=own, splits=splits
    )


def load_own_weights(network: nn.Module, checkpoint: Checkpoint, trained: str | None) -> None:
    """Copy the weights of a checkpoint into a network given by the user, in place.

    Args:
        network: the network.
        checkpoint: the checkpoint.
        trained: the class name of the trained network, as recorded in the run.

    Raises:
        CheckpointError: when the weights do not fit the network.
    """
    try:
        load_weights(network, checkpoint.tensors("model"))
    except CheckpointError as error:
        raise CheckpointError(f"{checkpoint.folder}: {error}; give the network that was trained, {trained}") from None
