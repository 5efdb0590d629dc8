"""The tests as on a system without some modules: $REFRAIN_TESTS_WITHOUT names those that refrain then cannot import.

`REFRAIN_TESTS_WITHOUT=fcntl,resource pytest` runs them as on Windows. Other packages, which have their own ways there,
can import the modules as before. The rule is in force once this file is imported; processes that tests start import it
through `blocked/sitecustomize.py`.
"""

import builtins
import os
import pathlib

VARIABLE = "REFRAIN_TESTS_WITHOUT"
NAMES = frozenset(filter(None, os.environ.get(VARIABLE, "").split(",")))


def lacks(name):
    """Whether refrain lacks a module, here or in these tests."""
    import importlib.util

    return name in NAMES or importlib.util.find_spec(name) is None


def _install():
    """Let imports of the named modules fail in refrain, in this process and those that it starts."""
    if not NAMES:
        return
    real = builtins.__import__

    def guarded(name, globals=None, locals=None, fromlist=(), level=0):
        caller = str((globals or {}).get("__name__", ""))
        if not level and name.partition(".")[0] in NAMES and caller.partition(".")[0] == "refrain":
            raise ModuleNotFoundError(f"No module named {name!r} (see {VARIABLE})", name=name)
        return real(name, globals, locals, fromlist, level)

    builtins.__import__ = guarded
    here = str(pathlib.Path(__file__).parent / "blocked")
    folders = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder not in ("", here)]
    os.environ["PYTHONPATH"] = os.pathsep.join([here, *folders])


_install()
