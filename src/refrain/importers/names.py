"""The names of classes and functions in pickles: which of the standard library may occur in a saved model."""

import sys

from .records import HostilePickleError, Name

MAX_NAME = 300

# names of the standard library that occur in saved models; those of Python 2 as well
KNOWN = {
    "argparse": {"Namespace"},
    "_codecs": {"encode"},
    "collections": {"Counter", "OrderedDict", "defaultdict", "deque"},
    "copyreg": {"_reconstructor"},
    "datetime": {"date", "datetime", "timedelta", "timezone"},
    "functools": {"partial"},
    "pathlib": {"Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath"},
    "builtins": {
        "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "getattr", "int", "list", "long",
        "object", "range", "set", "slice", "str", "tuple", "unicode", "xrange",
    },
    "types": {"SimpleNamespace"},
}  # fmt: skip
MODERN = {"__builtin__": "builtins", "copy_reg": "copyreg"}
# modules of Python 2 that Python 3 does not have
OLD_LIBRARY = {"__builtin__", "commands", "copy_reg", "cPickle", "exceptions", "new", "popen2", "sets"}


def named(module: str, name: str) -> Name:
    """The name of a class or function in a pickle.

    Raises:
        HostilePickleError: when it is of the standard library and no model needs it, or is no name.
    """
    if not module or not name or len(module) > MAX_NAME or len(name) > MAX_NAME:
        raise HostilePickleError("a name that is empty or very long")
    library = MODERN.get(module, module)
    top = module.partition(".")[0]
    standard = top in sys.stdlib_module_names or top in OLD_LIBRARY
    # __main__ is where a script defines its classes
    if standard and top != "__main__" and name not in KNOWN.get(library, ()):
        raise HostilePickleError(f"the name {module}.{name}, which no saved model needs; the file may be hostile")
    return Name(library, name)
