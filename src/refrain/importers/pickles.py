"""Reads pickles without running anything: plain data, tensors that are views of storages, and inert records.

The opcodes come from `pickletools.genops` of the standard library, which describes a pickle and executes nothing. No
name is imported and nothing is called. Names of the standard library are refused except those that models are saved
with.
"""

import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, cast

from .calls import called
from .names import named
from .records import HostilePickleError, Name, Record, StoredTensor

MAX_BYTES = 2**28
"""Bytes of a pickle; tensors are stored outside of it."""
MAX_OPCODES = 20_000_000
MAX_MARKS = 1000
MAX_INTEGER_BITS = 4096

_MARK = object()
_KEYS = (str, int, bytes, type(None))
# Python hashes smaller whole numbers to themselves, so that a table of them cannot be made slow
MAX_KEY = 2**60
MAX_KEY_PARTS = 16
PersistentLoad = Callable[[Any], Any]


class _Bounded:
    """The part of a file that a pickle may have, for `pickletools`. Asking a file for its position is slow."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._file = file
        self._limit = limit
        self._place = 0

    def tell(self) -> int:
        return self._place

    def read(self, count: int) -> bytes:
        # checked first, because Python allocates as many bytes as are asked for
        if count > self._limit - self._place:
            raise HostilePickleError(f"a pickle that ends inside of a value, or is larger than {MAX_BYTES:,} bytes")
        self._place += count
        return self._file.read(count)

    def readline(self) -> bytes:
        line = self._file.readline(self._limit - self._place)
        self._place += len(line)
        return line


def parse_pickle(file: BinaryIO, size: int, persistent: PersistentLoad | None = None) -> Any:
    """Read one pickle from the current position of a file, and leave the file after it.

    Args:
        file: the file.
        size: the number of bytes from the position to the end of the file.
        persistent: maps a persistent id, which torch stores for storages, to what it stands for.

    Raises:
        HostilePickleError: when it is damaged, too large, or holds what no model needs.
    """
    machine = _Machine(persistent)
    bounded = cast(BinaryIO, _Bounded(file, min(size, MAX_BYTES)))
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(bounded)):
            if count > MAX_OPCODES:
                raise HostilePickleError(f"more than {MAX_OPCODES:,} opcodes")
            if opcode.name == "STOP":
                return machine.result()
            machine.count = count
            machine.execute(opcode.name, argument)
    except HostilePickleError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, UnicodeError) as error:
        reason = " ".join(str(error).split())[:150]
        raise HostilePickleError(f"a damaged pickle ({type(error).__name__}: {reason})") from None
    raise HostilePickleError("a pickle without an end")


class _Machine:
    """The stack machine of pickles, which makes plain data and records alone."""

    def __init__(self, persistent: PersistentLoad | None) -> None:
        self.count = 0
        self._persistent = persistent
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def result(self) -> Any:
        """What is left on the stack."""
        value = self._pop()
        if self._stack:
            raise HostilePickleError("a pickle that leaves values on its stack")
        return value

    def execute(self, name: str, argument: Any) -> None:
        """Execute one opcode."""
        if name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _VALUES:
            self._stack.append(_checked(argument))
        elif name in _PUTS:
            self._put(self.count if name == "MEMOIZE" else argument, memoize=name == "MEMOIZE")
        elif name in _GETS:
            self._stack.append(self._memo[argument])
        elif name in _NEW:
            self._stack.append(_NEW[name]())
        elif name in _STEPS:
            _STEPS[name](self)
        elif name == "GLOBAL":
            module, _, attribute = argument.partition(" ")
            self._stack.append(named(module, attribute))
        elif name not in ("PROTO", "FRAME"):
            raise HostilePickleError(f"the opcode {name}, which no saved model needs")

    def _put(self, index: int, *, memoize: bool) -> None:
        if memoize:
            index = len(self._memo)
        if index > self.count:
            raise HostilePickleError(f"a memo index of {index:,} after {self.count:,} opcodes")
        self._memo[index] = self._stack[-1]

    def _pop(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise HostilePickleError("a damaged pickle (a value is missing on its stack)")
        return self._stack.pop()

    def _top(self) -> Any:
        value = self._pop()
        self._stack.append(value)
        return value

    def _since_mark(self) -> list[Any]:
        if not self._marks:
            raise HostilePickleError("a damaged pickle (a mark is missing on its stack)")
        at = self._marks.pop()
        if at >= len(self._stack) or self._stack[at] is not _MARK:
            raise HostilePickleError("a damaged pickle (a mark is missing on its stack)")
        values = self._stack[at + 1 :]
        del self._stack[at:]
        return values

    def mark(self) -> None:
        if len(self._marks) >= MAX_MARKS:
            raise HostilePickleError(f"values that are nested more than {MAX_MARKS:,} deep")
        self._marks.append(len(self._stack))
        self._stack.append(_MARK)

    def pop(self) -> None:
        if self._stack and self._stack[-1] is _MARK:
            self._since_mark()
        else:
            self._pop()

    def pop_mark(self) -> None:
        self._since_mark()

    def dup(self) -> None:
        self._stack.append(self._top())

    def make_tuple(self, count: int | None) -> None:
        values = self._since_mark() if count is None else [self._pop() for _ in range(count)][::-1]
        self._stack.append(tuple(values))

    def make_list(self) -> None:
        self._stack.append(self._since_mark())

    def make_dict(self) -> None:
        self._stack.append(_pairs(self._since_mark()))

    def make_set(self) -> None:
        self._stack.append([_key(value) for value in self._since_mark()])

    def append(self, *, many: bool) -> None:
        values = self._since_mark() if many else [self._pop()]
        target = self._top()
        if not isinstance(target, list | Record):
            raise HostilePickleError(f"elements that are appended to a {type(target).__name__}")
        (target.elements if isinstance(target, Record) else target).extend(values)

    def set_items(self, *, many: bool) -> None:
        values = self._since_mark() if many else [self._pop(), self._pop()][::-1]
        target = self._top()
        if not isinstance(target, dict | Record):
            raise HostilePickleError(f"items that are set in a {type(target).__name__}")
        (target.items if isinstance(target, Record) else target).update(_pairs(values))

    def global_from_stack(self) -> None:
        attribute, module = self._pop(), self._pop()
        if not isinstance(module, str) or not isinstance(attribute, str):
            raise HostilePickleError("a name that is not a text")
        self._stack.append(named(module, attribute))

    def reduce(self) -> None:
        args, what = self._pop(), self._pop()
        if not isinstance(args, tuple) or not isinstance(what, Name):
            raise HostilePickleError("a call of something that is not a name")
        self._stack.append(called(what, args))

    def new_object(self, *, keywords: bool) -> None:
        given = self._pop() if keywords else {}
        args, what = self._pop(), self._pop()
        if not isinstance(args, tuple) or not isinstance(what, Name) or not isinstance(given, dict):
            raise HostilePickleError("an object of something that is not a name")
        self._stack.append(called(what, args) if not given else Record(what, (*args, given)))

    def build(self) -> None:
        state = self._pop()
        target = self._top()
        if isinstance(target, Record) and target.state is None:
            target.state = state
        elif not isinstance(target, dict | StoredTensor):
            # those of a dict or a tensor are metadata, such as the versions of a state dict
            raise HostilePickleError(f"a state for a {type(target).__name__}")

    def persistent(self) -> None:
        identity = self._pop()
        if self._persistent is None:
            raise HostilePickleError("a persistent id where none belongs")
        self._stack.append(self._persistent(identity))


def _checked(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > MAX_INTEGER_BITS:
        raise HostilePickleError("a whole number of more than a thousand digits")
    return value


def _pairs(values: list[Any]) -> dict[Any, Any]:
    if len(values) % 2:
        raise HostilePickleError("a damaged pickle (a key without a value)")
    return {_key(key): value for key, value in zip(values[::2], values[1::2], strict=True)}


def _key(value: Any) -> Any:
    """The value, if it can be a key that is hashed fast; a tuple that is nested deeply would overflow the stack."""
    parts = value if isinstance(value, tuple) and len(value) <= MAX_KEY_PARTS else (value,)
    if all(isinstance(part, _KEYS) and not (isinstance(part, int) and abs(part) > MAX_KEY) for part in parts):
        return value
    if isinstance(value, Name | Record | StoredTensor):
        return value
    raise HostilePickleError(f"a key that is a {type(value).__name__} or a very large number")


_CONSTANTS: Mapping[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_NEW: Mapping[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": list}
_VALUES = {
    "BINBYTES", "BINBYTES8", "BINFLOAT", "BININT", "BININT1", "BININT2", "BINSTRING", "BINUNICODE", "BINUNICODE8",
    "BYTEARRAY8", "FLOAT", "INT", "LONG", "LONG1", "LONG4", "SHORT_BINBYTES", "SHORT_BINSTRING", "SHORT_BINUNICODE",
    "STRING", "UNICODE",
}  # fmt: skip
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_STEPS: Mapping[str, Callable[[_Machine], None]] = {
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": _Machine.pop_mark,
    "DUP": _Machine.dup,
    "TUPLE": lambda machine: machine.make_tuple(None),
    "TUPLE1": lambda machine: machine.make_tuple(1),
    "TUPLE2": lambda machine: machine.make_tuple(2),
    "TUPLE3": lambda machine: machine.make_tuple(3),
    "LIST": _Machine.make_list,
    "DICT": _Machine.make_dict,
    "FROZENSET": _Machine.make_set,
    "APPEND": lambda machine: machine.append(many=False),
    "APPENDS": lambda machine: machine.append(many=True),
    "ADDITEMS": lambda machine: machine.append(many=True),
    "SETITEM": lambda machine: machine.set_items(many=False),
    "SETITEMS": lambda machine: machine.set_items(many=True),
    "STACK_GLOBAL": _Machine.global_from_stack,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": lambda machine: machine.new_object(keywords=False),
    "NEWOBJ_EX": lambda machine: machine.new_object(keywords=True),
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
}
