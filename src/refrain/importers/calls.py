"""What the calls in a pickle mean: a fixed list of names makes tensors and plain containers, all others a record."""

from collections.abc import Callable, Mapping
from typing import Any

from .records import HostilePickleError, Name, Record, Storage, StoredTensor

_PARAMETERS = {"torch.nn.parameter.Parameter", "torch.nn.Parameter", "torch.autograd.variable.Variable"}


def called(what: Name, args: tuple[Any, ...]) -> Any:
    """What a call of a name makes; nothing is called.

    Args:
        what: the class or function.
        args: its arguments.

    Raises:
        HostilePickleError: when the arguments of a known name are not what they have to be.
    """
    make = _MEANINGS.get(str(what))
    return Record(what, args) if make is None else make(what, args)


def _tensor(what: Name, args: tuple[Any, ...]) -> StoredTensor:
    if len(args) < 4:
        raise HostilePickleError(f"a call of {what} with {len(args)} arguments")
    storage, offset, shape, strides = args[:4]
    if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise HostilePickleError("a tensor without a storage, sizes and strides")
    return StoredTensor(storage, offset, shape, strides)


def _parameter(what: Name, args: tuple[Any, ...]) -> Any:
    if args and isinstance(args[0], StoredTensor):
        return args[0]
    if str(what) in _PARAMETERS:
        # its tensor follows as state
        return Record(what, args)
    raise HostilePickleError(f"a call of {what} without a tensor")


def _typed(what: Name, args: tuple[Any, ...]) -> Any:
    """`torch._tensor._rebuild_from_type_v2(function, type, arguments, state)`."""
    if len(args) < 3 or not isinstance(args[0], Name) or not isinstance(args[2], tuple):
        raise HostilePickleError(f"a call of {what} that makes no tensor")
    make = _TENSORS.get(str(args[0]))
    return Record(what, args) if make is None else make(args[0], args[2])


def _mapping(what: Name, args: tuple[Any, ...]) -> dict[Any, Any]:
    """An OrderedDict, a Counter or a defaultdict; Python 2 gave the items of the first as a list of pairs."""
    given = args[0] if args and what.name != "defaultdict" else {}
    if isinstance(given, dict):
        # not a copy: a pickle of a few bytes can ask for many
        return given
    pairs = isinstance(given, list) and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in given)
    if not isinstance(given, list) or not pairs or not all(isinstance(key, str) for key, _ in given):
        raise HostilePickleError(f"a call of {what} without keys and values")
    made = dict(given)
    # read once: a pickle of a few bytes can ask for it many times
    given.clear()
    return made


def _sequence(what: Name, args: tuple[Any, ...]) -> list[Any] | tuple[Any, ...]:
    """A set or a torch.Size, as the list or tuple that it is made from."""
    if not args:
        return []
    if not isinstance(args[0], list | tuple):
        raise HostilePickleError(f"a call of {what} without elements")
    return args[0]


def _bytes(what: Name, args: tuple[Any, ...]) -> str:
    """Bytes as protocol 2 of Python 3 stores them, as the text that has a character for each."""
    if len(args) != 2 or not isinstance(args[0], str):
        raise HostilePickleError(f"a call of {what} that is not one for bytes")
    return args[0]


def _reconstructed(what: Name, args: tuple[Any, ...]) -> Record:
    """An object as protocols 0 and 1 store it: its class, a base class and the value of that."""
    if not args or not isinstance(args[0], Name):
        raise HostilePickleError(f"a call of {what} without a class")
    return Record(args[0], args[2:])


_Make = Callable[[Name, tuple[Any, ...]], Any]
_TENSORS: Mapping[str, _Make] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    **dict.fromkeys(_PARAMETERS, _parameter),
}
_MEANINGS: Mapping[str, _Make] = {
    **_TENSORS,
    "torch._tensor._rebuild_from_type_v2": _typed,
    "torch.Size": _sequence,
    "collections.OrderedDict": _mapping,
    "collections.Counter": _mapping,
    "collections.defaultdict": _mapping,
    "builtins.set": _sequence,
    "builtins.frozenset": _sequence,
    "_codecs.encode": _bytes,
    "copyreg._reconstructor": _reconstructed,
}
