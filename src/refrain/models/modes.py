"""Switching a module between training and evaluation, and back to what each of its parts was."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

from torch import nn


class HasModules(Protocol):
    """A module as far as its modes are concerned."""

    def modules(self) -> Iterator[nn.Module]:
        """The module itself and all its parts."""
        ...


@contextlib.contextmanager
def modes(model: HasModules, training: Callable[[nn.Module], bool]) -> Iterator[None]:
    """Inside, every part is in the mode that `training` says for it; outside, in the one from before.

    Args:
        model: whose parts are switched.
        training: maps a part to whether it trains.
    """
    before = {module: module.training for module in model.modules()}
    for module in before:
        module.training = training(module)
    try:
        yield
    finally:
        for module, mode in before.items():
            module.training = mode


def evaluating(model: HasModules) -> contextlib.AbstractContextManager[None]:
    """Evaluation mode inside, the modes from before outside."""
    return modes(model, lambda module: False)
