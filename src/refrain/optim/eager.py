"""torch's optimisers without the import of torch's compiler.

`torch.optim` wraps the methods of its optimisers so that `torch.compile` does not trace into them. The first call of
such a method imports `torch._dynamo`, which takes more than a second of processor time. While nothing is being
compiled, the wrappers do nothing else, and these classes call the methods below them.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import torch

WRAPPED = ("add_param_group", "load_state_dict", "state_dict", "step", "zero_grad")

OptimizerClass = TypeVar("OptimizerClass", bound=type[torch.optim.Optimizer])


def eager(optimizer: OptimizerClass) -> OptimizerClass:
    """Decorate a class of optimisers so that its methods do not import torch's compiler. The class is changed.

    Args:
        optimizer: the class, which inherits the methods from torch.
    """
    for name in WRAPPED:
        setattr(optimizer, name, _eager(getattr(optimizer, name)))
    return optimizer


def _eager(method: Callable[..., Any]) -> Callable[..., Any]:
    inner = inspect.unwrap(method)

    @functools.wraps(inner)
    def call(*arguments: Any, **options: Any) -> Any:
        if torch.compiler.is_compiling():
            return method(*arguments, **options)
        # torch's wrapper of `step` does the same
        with torch.no_grad():
            return inner(*arguments, **options)

    return call


@eager
class EagerAdam(torch.optim.Adam):
    """torch's Adam, which computes the same."""


@eager
class EagerSGD(torch.optim.SGD):
    """torch's SGD, which computes the same."""
