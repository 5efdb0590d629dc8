"""The script that builds wheels, wheels/build.py, which is in no package."""

import importlib.util
import pathlib

_spec = importlib.util.spec_from_file_location(
    "build_wheels", pathlib.Path(__file__).parents[1] / "wheels" / "build.py"
)
build = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(build)
