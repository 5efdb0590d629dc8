"""Context managers that switch a module to training or evaluation and restore the mode of each submodule."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

from torch import nn


class HasModules(Protocol):
    """An object that lists its modules, as `nn.Module` does."""

    def modules(self) -> Iterator[nn.Module]:
        """Iterate over the module itself and all its submodules."""
        ...


@contextlib.contextmanager
def modes(model: HasModules, training: Callable[[nn.Module], bool]) -> Iterator[None]:
    """Set the mode of each module inside the context, and restore it afterwards.

    Args:
        model: the model.
        training: maps a module of the model to True for training mode and False for evaluation mode.
    """
    before = {module: module.training for module in model.modules()}
    # a module that is in its mode already is left alone, since other threads may be using it
    for module in before:
        if module.training != (mode := training(module)):
            module.training = mode
    try:
        yield
    finally:
        for module, mode in before.items():
            if module.training != mode:
                module.training = mode


def evaluating(model: HasModules) -> contextlib.AbstractContextManager[None]:
    """Switch a model to evaluation mode inside the context, and restore its modes afterwards."""
    return modes(model, lambda module: False)
