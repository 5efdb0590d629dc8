"""Networks given by the user instead of built from settings: checks, and their names in the run."""

from collections.abc import Callable
from typing import Any

from torch import nn

from refrain.config import AnyExperiment, TaggerExperiment
from refrain.data import Vocabulary
from refrain.errors import UserError
from refrain.models.network_check import check_network, class_name
from refrain.models.protocol import part_of

OwnNetwork = nn.Module | Callable[[Vocabulary], nn.Module]
"""A network, or a function that maps a vocabulary to one, for use when the size of the vocabulary is not known."""


def make_network(given: OwnNetwork, experiment: AnyExperiment, vocabulary: Vocabulary) -> nn.Module:
    """Get the network from the user, and check it against the protocol and the settings.

    Args:
        given: the network, which is not copied, or a function that maps the vocabulary to it.
        experiment: the settings of the run; those of the model are ignored.
        vocabulary: the vocabulary of the corpus.

    Raises:
        UserError: when the network does not implement the protocol `Network`, is for a vocabulary of another size, or
            lacks a part that a setting needs.
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
    needed_parts = {"dropped": training.activation_penalty or training.train_accuracy, "raw": training.temporal_penalty}
    for part, needed in needed_parts.items():
        if needed and not hasattr(outputs, part):
            raise UserError(
                f"training: the settings need outputs with a part {part!r} (T, B, H), which forward of "
                f"{class_name(network)} does not return; see refrain.models.Outputs"
            )


def names_of(given: OwnNetwork, network: nn.Module) -> dict[str, str]:
    """The names of a network that a run records for its readers. Nothing is imported by these names.

    Args:
        given: the network or function given by the user.
        network: the network that is trained.
    """
    names = {"kind": "own", "class": class_name(network)}
    if not isinstance(given, nn.Module) and not isinstance(given, type) and hasattr(given, "__qualname__"):
        names["function"] = f"{given.__module__}.{given.__qualname__}"
    return names
