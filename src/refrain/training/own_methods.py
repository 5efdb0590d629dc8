"""A user's methods: their names, what their parts may return, and errors that name method and part."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from torch import Tensor

from refrain.errors import UserError
from refrain.optim import Verdict
from refrain.storage.plain_json import dumps

from .method import PARTS

RESERVED = {
    "schedule", "activation_penalty", "temporal_penalty", "sparsifier", "accuracy", "averaging", "early_stop",
    "carried", "generator", "optimizer", "weights",
}  # fmt: skip
"""Names in a checkpoint that are the library's."""


class MethodError(UserError):
    """A part of a user's method that raised, whose exception is the cause, or that returned what it must not.

    Args:
        name: the method's.
        part: the part's.
        problem: what is wrong, in a few words.
    """

    def __init__(self, name: str, part: str, problem: str) -> None:
        super().__init__(f"method {name!r}: {part} {problem}")


def methods_by_name(methods: Sequence[object] | Mapping[str, object]) -> dict[str, object]:
    """A user's methods by name, each of which can enter a run.

    Args:
        methods: objects with an attribute `name`, or objects by name.

    Raises:
        UserError: when a name is missing, taken or not a plain word, or an object has no part that is known.
    """
    if not isinstance(methods, Mapping | list | tuple):
        kind = type(methods).__name__
        raise UserError(f"methods: must be a list of methods or a dict of them by name (got {kind})")
    pairs = list(methods.items()) if isinstance(methods, Mapping) else [_pair(*each) for each in enumerate(methods)]
    found: dict[str, object] = {}
    for name, method in pairs:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][\w-]*", name, re.ASCII):
            raise UserError(f"methods: {name!r} cannot be a name; take letters, digits, - and _, a letter first")
        if name in RESERVED:
            raise UserError(f"methods: {name!r} is a name of the library's; choose another")
        if name in found:
            raise UserError(f"methods: two are called {name!r}; give each a name of its own")
        _check_parts(name, method)
        found[name] = method
    return found


def _pair(index: int, method: object) -> tuple[Any, object]:
    name = getattr(method, "name", None)
    if name is None:
        kind = getattr(method, "__name__", type(method).__name__)
        raise UserError(
            f"methods[{index}] ({kind}) has no attribute 'name'; set one, or give a dict of methods by name"
        )
    return name, method


def _check_parts(name: str, method: object) -> None:
    if isinstance(method, type):
        raise UserError(f"method {name!r}: is a class; give an object, {method.__name__}(...)")
    parts = {part: getattr(method, part, None) for part in PARTS}
    given = [part for part in PARTS if parts[part] is not None]
    if not given:
        raise UserError(f"method {name!r}: has none of the parts of a method, which are {', '.join(PARTS)}")
    for part in given:
        if not callable(parts[part]):
            raise UserError(f"method {name!r}: {part} is {type(parts[part]).__name__}, must be a function")
    halves = [part for part in ("state_dict", "load_state_dict") if part in given]
    if len(halves) == 1:
        raise UserError(f"method {name!r}: has {halves[0]} alone; state_dict and load_state_dict belong together")


def checked(name: str, part: str, call: Callable[..., Any], *arguments: Any) -> Any:
    """What a part of a user's method returns.

    Args:
        name: the method's.
        part: the part's.
        call: the part.
        arguments: the part's.

    Raises:
        MethodError: when it raises, or returns what it must not.
    """
    try:
        returned = call(*arguments)
    except Exception as error:
        raise MethodError(name, part, raised(error)) from error
    problem = CHECKS[part](returned) if part in CHECKS else None
    if problem:
        raise MethodError(name, part, f"returns {problem}")
    return _Weights(name, returned) if part == "evaluation_weights" else returned


def raised(error: Exception) -> str:
    """An exception in a line."""
    return f"raised {type(error).__name__}: {' '.join(str(error).split())}"


class _Weights:
    """A user's context of evaluation weights, whose errors are told from those of what is done inside.

    Args:
        name: the method's.
        context: as its part gave it.
    """

    def __init__(self, name: str, context: AbstractContextManager[Any]) -> None:
        self._name, self._context = name, context

    def __enter__(self) -> None:
        checked(self._name, "evaluation_weights on entry", self._context.__enter__)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # whatever it returns, an error that was raised inside goes on
        checked(self._name, "evaluation_weights on exit", self._context.__exit__, kind, error, trace)


def _no_loss_term(term: Any) -> str | None:
    if not isinstance(term, Tensor):
        return f"{type(term).__name__}, must return a tensor"
    if term.ndim:
        return f"a tensor of shape {tuple(term.shape)}, must return a scalar; take its mean or its sum"
    if not term.requires_grad and term.item() != 0:
        return (
            "a tensor without a gradient, which cannot take effect; compute it from window.outputs or from the "
            "parameters of window.model, without detach and no_grad"
        )
    return None


def _no_verdict(verdict: Any) -> str | None:
    if verdict is None:
        return None
    if not isinstance(verdict, Verdict):
        return f"{type(verdict).__name__}, must return a Verdict or None"
    stop, message = verdict._asdict().values()
    if not isinstance(stop, bool) or not isinstance(message, str | None):
        return f"{verdict}, whose stop must be True or False and whose message a str or None"
    return None


def _no_bool(settled: Any) -> str | None:
    return None if isinstance(settled, bool) else f"{type(settled).__name__}, must return True or False"


def _no_context(context: Any) -> str | None:
    if hasattr(context, "__enter__") and hasattr(context, "__exit__"):
        return None
    return f"{type(context).__name__}, must return a context manager; decorate it with contextlib.contextmanager"


def _no_figures(figures: Any) -> str | None:
    if not isinstance(figures, Mapping) or not all(isinstance(name, str) for name in figures):
        return f"{type(figures).__name__}, must return figures by name"
    try:
        dumps(figures)
    except (TypeError, ValueError, RecursionError) as error:
        return f"what JSON cannot hold ({error}); take numbers, text, lists and dicts"
    return None


CHECKS: dict[str, Callable[[Any], str | None]] = {
    "loss_term": _no_loss_term,
    "validated": _no_verdict,
    "settled": _no_bool,
    "evaluation_weights": _no_context,
    "metrics": _no_figures,
}
"""What is wrong with what a part returned, or None."""
