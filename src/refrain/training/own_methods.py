"""A user's methods: checks of their names and of what their parts return, with errors that name method and part."""

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
"""Names in a checkpoint that the library uses."""


class MethodError(UserError):
    """A part of a user's method raised, in which case its exception is the cause, or returned a wrong value.

    Args:
        name: the name of the method.
        part: the name of the part.
        problem: a short description of the problem, which follows the name of the part.
    """

    def __init__(self, name: str, part: str, problem: str) -> None:
        super().__init__(f"method {name!r}: {part} {problem}")


def methods_by_name(methods: Sequence[object] | Mapping[str, object]) -> dict[str, object]:
    """Check a user's methods, and return them by name.

    Args:
        methods: objects with an attribute `name`, or objects by name.

    Raises:
        UserError: when a name is missing, taken or invalid, or an object has no part of a method.
    """
    if not isinstance(methods, Mapping | list | tuple):
        type_name = type(methods).__name__
        raise UserError(f"methods: must be a list of methods or a dict of them by name (got {type_name})")
    if isinstance(methods, Mapping):
        pairs = list(methods.items())
    else:
        pairs = [_pair(index, method) for index, method in enumerate(methods)]
    found: dict[str, object] = {}
    for name, method in pairs:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][\w-]*", name, re.ASCII):
            raise UserError(
                f"methods: {name!r} is not a valid name; use letters, digits, - and _, and begin with a letter"
            )
        if name in RESERVED:
            raise UserError(f"methods: the name {name!r} is used by the library; choose another")
        if name in found:
            raise UserError(f"methods: two methods have the name {name!r}; choose another for one of them")
        _check_parts(name, method)
        found[name] = method
    return found


def _pair(index: int, method: object) -> tuple[Any, object]:
    name = getattr(method, "name", None)
    if name is None:
        type_name = getattr(method, "__name__", type(method).__name__)
        raise UserError(
            f"methods[{index}] ({type_name}) has no attribute 'name'; set one, or give a dict of methods by name"
        )
    return name, method


def _check_parts(name: str, method: object) -> None:
    if isinstance(method, type):
        raise UserError(f"method {name!r}: is a class; pass an object, {method.__name__}(...)")
    parts = {part: getattr(method, part, None) for part in PARTS}
    given = [part for part in PARTS if parts[part] is not None]
    if not given:
        raise UserError(f"method {name!r}: has none of the parts of a method, which are {', '.join(PARTS)}")
    for part in given:
        if not callable(parts[part]):
            raise UserError(f"method {name!r}: {part} has type {type(parts[part]).__name__}, but must be a function")
    halves = [part for part in ("state_dict", "load_state_dict") if part in given]
    if len(halves) == 1:
        raise UserError(f"method {name!r}: has only {halves[0]}; state_dict and load_state_dict need each other")


def checked(name: str, part: str, call: Callable[..., Any], *arguments: Any) -> Any:
    """Call a part of a user's method, check what it returns, and return it.

    Args:
        name: the name of the method.
        part: the name of the part.
        call: the part.
        arguments: the arguments of the part.

    Raises:
        MethodError: when the part raises, or returns a wrong value.
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
    """Describe an exception in one line."""
    return f"raised {type(error).__name__}: {' '.join(str(error).split())}"


class _Weights:
    """A user's context of evaluation weights; only errors of the context itself become a `MethodError`.

    Args:
        name: the name of the method.
        context: the context that the method returned.
    """

    def __init__(self, name: str, context: AbstractContextManager[Any]) -> None:
        self._name = name
        self._context = context

    def __enter__(self) -> None:
        checked(self._name, "evaluation_weights on entry", self._context.__enter__)

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # an error that was raised inside is raised again, whatever the context returns
        checked(self._name, "evaluation_weights on exit", self._context.__exit__, error_type, error, trace)


def _loss_term_problem(term: Any) -> str | None:
    if not isinstance(term, Tensor):
        return f"{type(term).__name__}, must return a tensor"
    if term.ndim:
        return f"a tensor of shape {tuple(term.shape)}, must return a scalar; take its mean or its sum"
    if term.is_complex():
        return f"a tensor of {term.dtype}, must return a real number; take its real part or its absolute value"
    if not term.requires_grad and term.item() != 0:
        return (
            "a tensor without a gradient, which cannot take effect; compute it from window.outputs or from the "
            "parameters of window.model, without detach and no_grad"
        )
    return None


def _verdict_problem(verdict: Any) -> str | None:
    if verdict is None:
        return None
    if not isinstance(verdict, Verdict):
        return f"{type(verdict).__name__}, must return a Verdict or None"
    stop, message = verdict._asdict().values()
    if not isinstance(stop, bool) or not isinstance(message, str | None):
        return f"{verdict}, whose stop must be True or False and whose message a str or None"
    return None


def _bool_problem(settled: Any) -> str | None:
    return None if isinstance(settled, bool) else f"{type(settled).__name__}, must return True or False"


def _context_problem(context: Any) -> str | None:
    if hasattr(context, "__enter__") and hasattr(context, "__exit__"):
        return None
    return f"{type(context).__name__}, must return a context manager; decorate it with contextlib.contextmanager"


def _metrics_problem(figures: Any) -> str | None:
    if not isinstance(figures, Mapping) or not all(isinstance(name, str) for name in figures):
        return f"{type(figures).__name__}, must return a dict of figures by name"
    try:
        dumps(figures)
    except (TypeError, ValueError, RecursionError) as error:
        return f"values that JSON cannot represent ({error}); use numbers, text, lists and dicts"
    return None


CHECKS: dict[str, Callable[[Any], str | None]] = {
    "loss_term": _loss_term_problem,
    "validated": _verdict_problem,
    "settled": _bool_problem,
    "evaluation_weights": _context_problem,
    "metrics": _metrics_problem,
}
"""For each part, a function that describes what is wrong with a returned value, or returns None."""
