"""A network of the user's own in the place of one that is built from settings: checked, and named in the run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from refrain.config import AnyExperiment, TaggerExperiment
from refrain.data import Vocabulary
from refrain.errors import CheckpointError, UserError
from refrain.models.network_check import check_network, class_name
from refrain.models.protocol import part_of

OwnNetwork = nn.Module | Callable[[Vocabulary], nn.Module]
"""A network, or a function that makes one for a vocabulary, whose size is known once the corpus has been read."""

MARK = "network"
"""The entry of `config.json`, beside the settings, that names the class of such a network."""


def make_network(given: OwnNetwork, experiment: AnyExperiment, vocabulary: Vocabulary) -> nn.Module:
    """The network that a run trains, checked against the protocol and the settings.

    Args:
        given: by the user; a network is used as it is, not copied.
        experiment: the settings, those of the model aside.
        vocabulary: of the corpus.

    Raises:
        UserError: when it does not keep the protocol `Network`, is for a vocabulary of another size, or lacks a part
            that a setting needs.
    """
    if isinstance(experiment, TaggerExperiment):
        raise UserError("model: a tagger's network is built from its settings; leave out model=")
    if not callable(given):
        raise UserError(f"model: must be a network, or a function of the vocabulary that makes one (got {given!r})")
    network = given if isinstance(given, nn.Module) else given(vocabulary)
    outputs = check_network(network, len(vocabulary))
    _check_settings(experiment, network, outputs, vocabulary)
    return network


def _check_settings(experiment: Any, network: Any, outputs: Any, vocabulary: Vocabulary) -> None:
    training = experiment.training
    if training.sample_tokens and not hasattr(network, "step"):
        raise UserError(
            f"training.sample_tokens: samples need a step, which {class_name(network)} does not have; set it to 0"
        )
    if training.train_accuracy:
        part_of(network, "head", "training.train_accuracy")
    if training.state == "reset-per-document":
        part_of(network, "reset_before", "training.state=reset-per-document")
        network.reset_before = vocabulary.line_end
    if experiment.sparsity.active():
        for part in ("axes", "widths"):
            part_of(network, part, "a setting of sparsity")
    read = {"dropped": training.activation_penalty or training.train_accuracy, "raw": training.temporal_penalty}
    for part, needed in read.items():
        if needed and not hasattr(outputs, part):
            raise UserError(
                f"training: the settings need outputs with a part {part!r} (T, B, H), which forward of "
                f"{class_name(network)} does not return; see refrain.models.Outputs"
            )


def names_of(given: OwnNetwork, network: nn.Module) -> dict[str, str]:
    """What a run records of a network, to be read by people. Nothing is imported by these names.

    Args:
        given: by the user.
        network: that is trained.
    """
    names = {"kind": "own", "class": class_name(network)}
    if not isinstance(given, nn.Module) and not isinstance(given, type) and hasattr(given, "__qualname__"):
        names["function"] = f"{given.__module__}.{given.__qualname__}"
    return names


def own_name(document: Any) -> str | None:
    """The names in a `config.json`, as words, or None where the model was built from settings.

    Args:
        document: of the run or of a checkpoint.
    """
    names = document.get(MARK) if isinstance(document, dict) else None
    if not isinstance(names, dict):
        return None
    return f"{names.get('class')} made by {names['function']}" if "function" in names else str(names.get("class"))


def check_given(document: Any, given: OwnNetwork | None, path: Path) -> None:
    """Refuse to read a run with a network where it needs none, and without one where it needs one.

    Args:
        document: the `config.json` of the run or of a checkpoint.
        given: by the user, or None.
        path: of the run, for the message.

    Raises:
        CheckpointError: saying which class was trained.
    """
    name = own_name(document)
    if name is not None and given is None:
        raise CheckpointError(
            f"{path}: trained a network of the user's own, {name}, which only Python can provide: give it as model= to "
            "refrain.load or refrain.resume"
        )
    if name is None and given is not None:
        raise CheckpointError(f"{path}: has a model that is built from the settings of the run; leave out model=")
