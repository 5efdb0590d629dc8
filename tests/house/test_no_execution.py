"""Nothing in the package can run what a file holds: no unpickling, no code from text, no names turned into imports."""

import ast
import pathlib

import pytest

SOURCE = pathlib.Path(__file__).parents[2] / "src" / "refrain"
MODULES = (
    "pickle", "_pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "yaml", "ruamel", "joblib",
    "jsonpickle", "runpy", "code", "codeop", "pdb", "zipimport", "pkgutil", "imp", "pydoc", "xmlrpc",
    "torch.hub", "torch.package", "torch.serialization",
)  # fmt: skip
CALLS = ("os.system", "eval", "exec", "compile", "__import__", "execfile", "input", "breakpoint")
METHODS = (
    "popen", "startfile", "execv", "execve", "execvp", "spawnv", "exec_module", "load_module", "entry_points",
    "fromfile", "read_pickle", "to_pickle", "load_library", "import_string",
)  # fmt: skip
# what may be loaded: JSON, TOML, a compiled kernel, values of a GPU, runs
LOADERS = ("json", "tomllib", "native", "tl", "runs")
# a file may do what would be an exception anywhere else: compile kernels, run code that is in the source in another
# process, and import modules of names in the source
EXCEPTIONS = {
    "subprocess": (
        "nn/kernels/compile.py",
        "export/c_format.py",
        "cli/processes.py",
        "bench/load.py",
        "bench/own_process.py",
        "bench/prepare.py",
        "bench/serve.py",
        "data/parallel/processes.py",
    ),
    "ctypes.CDLL": ("nn/kernels/compile.py", "nn/kernels/levels.py", "nn/kernels/allocator.py", "export/c_format.py"),
    "importlib.import_module": (
        "__init__.py",
        "_lazy.py",
        "bench/compressors.py",
        "export/exporting.py",
        "nn/kernels/launch.py",
        "evaluation/probe.py",
    ),
}


def dangers(text, name=""):
    """What in a source text could run the content of a file, each with its line."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found = [f"{node.module or ''}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call):
            found = called(node)
        else:
            continue
        for each in found:
            if is_danger(node, each) and name not in EXCEPTIONS.get(each, ()):
                yield f"line {node.lineno}: {each}"


def called(node):
    """The name that is called, and pickle where a keyword allows it."""
    found = [ast.unparse(node.func)]
    for keyword in node.keywords:
        if keyword.arg == "allow_pickle" or (keyword.arg == "weights_only" and ast.unparse(keyword.value) != "True"):
            found.append("pickle")
    return found


def is_danger(node, name):
    if name in EXCEPTIONS or name.split(".")[0] in MODULES or any(name.startswith(f"{each}.") for each in MODULES):
        return True
    if not isinstance(node, ast.Call):
        return name.startswith(("torch.", "numpy.")) and name.endswith((".load", ".jit"))
    *owner, method = name.split(".")
    if name in CALLS:
        return True
    return method in METHODS or (method in ("load", "loads") and bool(owner) and ".".join(owner) not in LOADERS)


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_no_file_can_run_what_a_file_holds(path):
    assert list(dangers(path.read_text(encoding="utf-8"), path.relative_to(SOURCE).as_posix())) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "import torch\ntorch.load(path)",
        "import torch as t\nt.load(path, weights_only=False)",
        "from torch import load",
        "torch.jit.load(path)",
        "torch.hub.load(path)",
        "np.load(path, allow_pickle=True)",
        "numpy.load(path)",
        "eval(text)",
        "exec(text)",
        "compile(text, 'x', 'exec')",
        "import yaml\nyaml.load(text)",
        "import marshal",
        "import shelve",
        "__import__(name)",
        "importlib.import_module(name)",
        "import subprocess",
        "os.system(text)",
        "importlib.metadata.entry_points()",
        "dcp.load(state)",
        "ctypes.CDLL(path)",
        "read(path, allow_pickle=True)",
    ],
)
def test_each_of_these_would_be_seen(text):
    assert list(dangers(text))


@pytest.mark.parametrize("text", ["json.loads(text)", "runs.load(path)", "re.compile(text)", "module.eval()"])
def test_these_are_harmless(text):
    assert not list(dangers(text))
