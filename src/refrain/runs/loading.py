"""Loads trained models from run folders and checkpoints."""

import difflib
import os
import shlex
import warnings
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from torch import nn

from refrain.assembly.model import build_device, build_language_model
from refrain.assembly.tagger import build_tagger, column_of
from refrain.config import AnyExperiment, Experiment, TaggerExperiment, upgraded
from refrain.config.upgrade import FORMAT
from refrain.data import Corpus, TaggedCorpus, vocabulary_from
from refrain.data.tagged.vocabulary import tag_vocabulary_from
from refrain.data.units.table import same_tokens
from refrain.errors import CheckpointError, UserError
from refrain.models.network_check import class_name
from refrain.nn import fold_weight_norm
from refrain.nn.kernels.packed_linear import WeightType
from refrain.storage.checkpoint import MANIFEST, Checkpoint
from refrain.storage.checkpoint_manifest import UnreadableError
from refrain.storage.run_folder import RunFolder
from refrain.storage.run_layout import BEST, best_of, check_parts
from refrain.trained.language_model import TrainedLanguageModel
from refrain.trained.tagger import TrainedTagger
from refrain.training import load_weights

from .fit_check import check_fit
from .own_network import MARK, OwnNetwork, check_given, make_network, own_name

TASKS: dict[type[AnyExperiment], str] = {Experiment: "language-model", TaggerExperiment: "tagger"}
"""Type of the settings -> the name of the task in `config.json`."""


def config_document(experiment: AnyExperiment, own: dict[str, str] | None = None) -> dict[str, Any]:
    """The content of `config.json`.

    Args:
        experiment: the settings of the run.
        own: the names of a network given by the user, which the settings do not describe.
    """
    document = {"format": FORMAT, "task": TASKS[type(experiment)], "experiment": experiment.model_dump(mode="json")}
    return document if own is None else document | {MARK: own}


def experiment_from(document: Any, path: Path) -> AnyExperiment:
    """Read the settings from the content of a `config.json` of this version or of version 0.1.

    Raises:
        CheckpointError: when it is damaged or was written by a later version.
    """
    if not isinstance(document, dict) or "experiment" not in document:
        raise CheckpointError(f"{path}: config.json contains no experiment")
    if document.get("format") not in (1, FORMAT):
        raise CheckpointError(
            f"{path}: config.json has format {document.get('format')}, but this version reads format {FORMAT}; "
            "update refrain-lm"
        )
    try:
        document = upgraded(document) if document["format"] == 1 else document
        # the first runs were language models and have no task
        task = document.get("task", TASKS[Experiment])
        for settings, name in TASKS.items():
            if name == task:
                return settings.model_validate(document["experiment"])
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise CheckpointError(f"{path}: config.json was written by another version ({name}: {first['msg']})") from None
    except (AttributeError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: config.json has the format of version 0.1, but not its contents ({error})"
        ) from None
    raise CheckpointError(f"{path}: config.json has an unknown task, {task!r}; update refrain-lm")


def load(
    path: str | Path,
    *,
    model: OwnNetwork | None = None,
    device: str = "cpu",
    weights: WeightType = "float32",
) -> TrainedLanguageModel | TrainedTagger:
    """Load a trained model from the best checkpoint of a run folder, or from a checkpoint folder.

    If the best checkpoint is damaged, the newest complete one is loaded, with a warning.

    Args:
        path: the run folder or checkpoint folder.
        model: for the run of a network of your own: the network, whose weights are replaced, or a function that maps
            the vocabulary to it. Nothing is imported by the class name that is recorded in the run.
        device: `cpu`, `cuda` or `auto`.
        weights: `float32`, or `int8`, which rounds every matrix row by row; see `TrainedLanguageModel`.

    Raises:
        CheckpointError: when the folder has no complete checkpoint, the checkpoint does not fit this version or the
            given network, or a network is missing or not needed.
        UserError: when the device is missing or unknown, or the weights are.
    """
    if weights not in get_args(WeightType):
        raise UserError(f"weights: must be one of {', '.join(get_args(WeightType))} (got {weights!r})")
    checkpoint = find_checkpoint(Path(path))
    document = checkpoint.document("config")
    experiment = experiment_from(document, checkpoint.folder)
    check_given(document, model, Path(path))
    if model is not None:
        return _own(experiment, model, checkpoint, device, weights)
    if isinstance(experiment, TaggerExperiment):
        return _tagger(experiment, checkpoint, device, weights)
    vocabulary = vocabulary_from(checkpoint.document("vocabulary"))
    check_fit(experiment, vocabulary, checkpoint)
    model = build_language_model(experiment, vocabulary)
    load_weights(model, checkpoint.tensors("model"))
    # fold the norms into the weights, so that they are not computed again at each step
    fold_weight_norm(model)
    settings = experiment.model_dump(mode="json")
    return TrainedLanguageModel(
        model.to(build_device(device)), vocabulary, settings, checkpoint.folder, weights=weights
    )


def load_language_model(
    path: str | Path, *, device: str = "cpu", weights: WeightType = "float32"
) -> TrainedLanguageModel:
    """Load the language model of a run, as `load` does.

    Args:
        path: the run folder or checkpoint folder.
        device: `cpu`, `cuda` or `auto`.
        weights: `float32` or `int8`.

    Raises:
        CheckpointError: when the run is that of a tagger, or as in `load`.
    """
    found = load(path, device=device, weights=weights)
    if isinstance(found, TrainedTagger):
        raise CheckpointError(
            f"{path}: is the run of a tagger, but a language model is needed; use it with refrain tag or "
            "refrain evaluate"
        )
    return found


def load_tagger(path: str | Path, *, device: str = "cpu", weights: WeightType = "float32") -> TrainedTagger:
    """Load the tagger of a run, as `load` does.

    Args:
        path: the run folder or checkpoint folder.
        device: `cpu`, `cuda` or `auto`.
        weights: `float32` or `int8`.

    Raises:
        CheckpointError: when the run is that of a language model, or as in `load`.
    """
    found = load(path, device=device, weights=weights)
    if not isinstance(found, TrainedTagger):
        raise CheckpointError(
            f"{path}: is the run of a language model, but a tagger is needed; train one with "
            "refrain train pos-default --data PATH/TO/SENTENCES"
        )
    return found


def _tagger(experiment: TaggerExperiment, checkpoint: Checkpoint, device: str, weights: WeightType) -> TrainedTagger:
    vocabulary = tag_vocabulary_from(checkpoint.document("vocabulary"))
    check_fit(experiment, vocabulary, checkpoint)
    model = build_tagger(experiment.model, vocabulary)
    load_weights(model, checkpoint.tensors("model"))
    config = experiment.model_dump(mode="json")
    column = column_of(experiment.data.column, vocabulary.tags)
    return TrainedTagger(model.to(build_device(device)), vocabulary, config, checkpoint.folder, column, weights=weights)


def _own(
    experiment: AnyExperiment, model: OwnNetwork, checkpoint: Checkpoint, device: str, weights: WeightType
) -> TrainedLanguageModel:
    document = checkpoint.document("config")
    vocabulary = vocabulary_from(checkpoint.document("vocabulary"))
    network = make_network(model, experiment, vocabulary)
    load_own_weights(network, checkpoint, own_name(document))
    settings = experiment.model_dump(mode="json")
    network = network.to(build_device(device))
    own = class_name(network)
    return TrainedLanguageModel(network, vocabulary, settings, checkpoint.folder, weights=weights, own=own)


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


def load_start(path: Path, model: nn.Module, corpus: Corpus | TaggedCorpus) -> None:
    """Copy the best weights of a run into a new model of the same shape, in place.

    Args:
        path: the run folder.
        model: the new model.
        corpus: the corpus, which must have the vocabulary of the run.

    Raises:
        CheckpointError: when the vocabulary or a shape differs.
    """
    checkpoint = find_checkpoint(path)
    if not same_tokens(checkpoint.document("vocabulary"), corpus.vocabulary.document()):
        raise CheckpointError(
            f"{path}: was trained with another vocabulary; give the same corpus with --data and the same data settings"
        )
    try:
        load_weights(model, checkpoint.tensors("model"))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}; give the model settings of that run") from None


def find_checkpoint(path: Path) -> Checkpoint:
    """Find the checkpoint of a folder: a checkpoint folder itself, or the best checkpoint of a run folder.

    Raises:
        CheckpointError: when the folder has no checkpoint, or a part of it is a link to another place.
    """
    if path.name == BEST and (path.parent / "checkpoints").is_dir():
        # a link or a text file, which may lead to a checkpoint of this run only
        check_parts(path.parent, writing=False)
        return Checkpoint((best_of(path.parent) or path).resolve())
    if not path.is_dir():
        raise CheckpointError(_missing(path))
    if path.parent.name == "checkpoints":
        check_parts(path.parents[1], writing=False)
    if os.path.lexists(path / MANIFEST) and not (path / "checkpoints").is_dir():
        return Checkpoint(path)
    if not (path / "checkpoints").is_dir():
        seeds = sorted(path.glob("seed-*"))
        if seeds:
            raise CheckpointError(f"{path}: contains the runs of several seeds; give one of them, such as {seeds[0]}")
        raise CheckpointError(
            f"{path}: is not a run folder (it has no checkpoints); give a folder that refrain train has made"
        )
    check_parts(path, writing=False)
    best = best_of(path)
    if best is not None:
        try:
            return Checkpoint(best.resolve())
        except UnreadableError:
            raise
        except CheckpointError as error:
            problem = str(error)
    else:
        problem = f"{path}: has no best checkpoint yet"
    checkpoint, problems = RunFolder(path).newest()
    problems = list(dict.fromkeys([problem, *problems]))
    if best is not None and checkpoint.document("training")["position"]["step"] == 0:
        raise CheckpointError("; ".join([*problems, "no other checkpoint of this run was trained"]))
    warnings.warn("; ".join([*problems, f"using {checkpoint.folder}"]), stacklevel=3)
    return checkpoint


def _missing(path: Path) -> str:
    """The message for a run folder that does not exist, with a run folder of a similar name beside it."""
    if path.exists():
        return f"{path}: is a file, but a run folder is needed; give a folder that refrain train has made"
    beside = [folder.parent.name for folder in path.parent.glob("*/checkpoints")]
    close = difflib.get_close_matches(path.name, beside, n=1)
    hint = f"did you mean {path.parent / close[0]}? " if close else ""
    return f"{path}: no such run folder; {hint}train one with: refrain train RECIPE --out {shlex.quote(str(path))}"
