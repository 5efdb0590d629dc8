"""Switching a module between training and evaluation."""

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, the mode from before outside."""
    before = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(before)
