"""Python imports this file when it starts, where this folder is on its path; see `blocked_modules.py`."""

import importlib.util
import pathlib

_spec = importlib.util.spec_from_file_location(
    "blocked_modules", pathlib.Path(__file__).parents[1] / "blocked_modules.py"
)
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
