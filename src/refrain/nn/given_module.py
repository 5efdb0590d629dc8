"""Modules that others are made of and that may be left out: a dropout, or the transform of a weight."""

from torch import Tensor, nn

from refrain.arguments import described

DROPOUT = "LockedDropout(0.5)"
WEIGHT_DROPOUT = "WeightDropout(0.5)"
WORD_DROPOUT = "EmbeddingDropout(0.1)"


def check_module(name: str, given: object, example: str) -> None:
    """Check that an argument is a module or None, and not a rate, which would fail only when it is used.

    Args:
        name: of the argument.
        given: the argument.
        example: such a module, for the message.

    Raises:
        ValueError: when it is neither.
    """
    if given is not None and not isinstance(given, nn.Module):
        raise ValueError(f"{name} must be a module such as {example}, or None (got {described(given)})")


def module_or_identity(name: str, given: nn.Module | None, example: str = DROPOUT) -> nn.Module:
    """The module that was given, or the identity.

    Args:
        name: of the argument.
        given: the argument.
        example: such a module, for the message.

    Raises:
        ValueError: when it is neither a module nor None.
    """
    check_module(name, given, example)
    return given or nn.Identity()


def transformed(name: str, transform: nn.Module, weight: Tensor) -> Tensor:
    """A weight as a transform maps it.

    Args:
        name: of the argument that was the transform.
        transform: the transform.
        weight: the weight.

    Raises:
        ValueError: when its result has another shape, with which compiled kernels would read what is beside it.
    """
    found: Tensor = transform(weight)
    if found.shape != weight.shape:
        raise ValueError(f"{name}: must keep the shape of the weight, {list(weight.shape)} (got {list(found.shape)})")
    return found
