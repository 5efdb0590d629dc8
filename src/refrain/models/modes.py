"""Switching a module between training and evaluation, and back to what each of its parts was."""

import contextlib
from collections.abc import Callable, Iterator

from torch import nn


@contextlib.contextmanager
def modes(model: nn.Module, training: Callable[[nn.Module], bool]) -> Iterator[None]:
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


def evaluating(model: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Evaluation mode inside, the modes from before outside."""
    return modes(model, lambda module: False)
