"""The format C: a folder with a header, a source and an example program."""

import ctypes
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from refrain.errors import UserError
from refrain.nn.step_graph import StepGraph

from .c_code import Source
from .formats import Exported, Options, compiler
from .proof import Runner
from .rounded import rounded_matrices

FLAGS = ("-std=c99", "-O3", "-Wall", "-Wextra", "-Werror")


def export(graph: StepGraph, options: Options) -> Exported:
    """Write a step graph as C99; see `Export`."""
    written = Source(graph, rounded_matrices(graph) if options.weights == "int8" else {}, options)
    # the source first: which functions it calls is known once it is written
    source = written.source()
    files = {"model.h": written.header(), "model.c": source, "main.c": written.program()}
    contents = {name: text.encode("ascii") for name, text in files.items()}
    return Exported(contents, lambda: runner(contents, graph))


def runner(files: Mapping[str, bytes], graph: StepGraph, flags: Sequence[str] = FLAGS) -> Runner:
    """Compile C code, and load it into this process.

    Args:
        files: name -> content.
        graph: the step that it was made from.
        flags: of the compiler.

    Raises:
        UserError: when the compiler fails.
    """
    library = _compiled(files, flags)
    sizes = [state.size for state in graph.states]

    def run(ids: Any, states: Sequence[Any]) -> tuple[Any, list[Any]]:
        found = np.empty((*ids.shape, graph.vocabulary_size), np.float32)
        packed = np.concatenate([*states, np.zeros((len(ids), 1))], axis=1).astype(np.float32)
        for row, own, results in zip(ids, packed, found, strict=True):
            for token, result in zip(row.tolist(), results, strict=True):
                library.model_step(own.ctypes.data_as(ctypes.c_void_p), token, result.ctypes.data_as(ctypes.c_void_p))
        return found, np.split(packed, np.cumsum(sizes), axis=1)[: len(sizes)]

    return run


def _compiled(files: Mapping[str, bytes], flags: Sequence[str]) -> ctypes.CDLL:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        command = [compiler() or "cc", *flags, "-shared", "-fPIC", "-o", "model.so", "model.c", "-lm"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise UserError(
                f"the C compiler failed: {(done.stderr.strip().splitlines() or ['no message'])[0]}; write the code "
                "without proof: --no-proof"
            )
        library = ctypes.CDLL(str(Path(folder, "model.so")))
    library.model_step.argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_void_p]
    library.model_step.restype = None
    return library
