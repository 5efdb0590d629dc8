"""Packages that import a name when it is first used, so that torch is imported only where it is needed."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

# what such a package imports for itself
USED = {"TYPE_CHECKING", "lazily"}


def lazily(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The functions `__getattr__` and `__dir__` of a package some of whose names are imported when they are used.

    Args:
        package: the name of the package.
        modules: name -> the module of the package that it is imported from.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{package}.{modules[name]}"), name)
        # Python asks no second time for what the package has
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        found = {*vars(sys.modules[package]), *modules} - USED
        return sorted(name for name in found if not name.startswith("_") or name.startswith("__"))

    return get, names
