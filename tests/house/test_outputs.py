"""Files that users name are written by one module, so that no option forgets to ask before it overwrites."""

import ast
import pathlib

import pytest

SOURCE = pathlib.Path(__file__).parents[2] / "src" / "refrain"
FILES = sorted(SOURCE.rglob("*.py"))

# modules that write to the cache, to a temporary folder, into a run folder or into memory: what they call
ALLOWED = {
    "bench/cache.py": {"write_bytes"},
    "bench/prepare.py": {"open"},
    "cli/app.py": {"os.open"},
    "cli/streams.py": {"os.open"},
    "evaluation/kept_statistics.py": {"write_bytes"},
    "export/c_format.py": {"write_bytes"},
    "export/exporting.py": {"mkdir"},
    "data/archive.py": {"open"},
    "data/download.py": {"open"},
    "data/embedded.py": {"atomic_folder", "write_text"},
    "data/fetch.py": {"atomic_folder", "unlink"},
    "data/parallel/worker.py": {"fdopen"},
    "data/text/cleaning.py": {"atomic_folder", "open", "write_text"},
    "data/text/packed.py": {"open"},
    "data/text/token_file.py": {"open"},
    "data/units/encoded.py": {"atomic_folder", "copyfileobj", "mkdir", "open", "rmtree", "unlink", "write_text"},
    "data/units/word/counting.py": {"mkdir", "open", "unlink"},
    "data/units/word/runs.py": {"open"},
    "importers/importing.py": {"mkdir", "rmdir", "save", "write_text"},
    "nn/kernels/cache.py": {"chmod", "mkdir", "replace", "write_atomically"},
    "nn/kernels/compile.py": {"mkdir", "replace", "write_bytes", "unlink"},
    "parallel/channels.py": {"mkstemp", "os.open"},
    "pictures/canvas.py": {"savefig"},
    "runs/continuing.py": {"unlink"},
    "runs/fetching.py": {"atomic_folder", "unlink"},
    "runs/packed.py": {"mkdir", "open"},
    "runs/sweeps/claims.py": {"mkdir", "write_atomically"},
    "runs/sweeps/folder.py": {"mkdir", "write_atomically"},
    "runs/reports/writing.py": {"write_text"},
    "runs/seeds.py": {"mkdir", "unlink", "write_atomically"},
    "runs/series_folder.py": {"rmdir"},
    "runs/to_the_end.py": {"write_text"},
    "runs/training.py": {"write_text"},
    "training/fit.py": {"save", "write_text"},
    "studies/compressed_run.py": {"mkdir", "save", "write_text"},
    "cli/probe.py": {"mkdir"},
}
WRITERS = {
    "atomic_folder", "chmod", "copy", "copy2", "copyfile", "copyfileobj", "copytree", "dump", "hardlink_to",
    "link", "memmap", "mkdir", "mkstemp", "mknod", "move", "NamedTemporaryFile", "remove", "removedirs", "rename",
    "renames", "rmdir", "rmtree", "save", "save_file", "savefig", "savetxt", "savez", "savez_compressed",
    "symlink", "symlink_to", "to_csv", "tofile", "touch", "truncate", "unlink", "write_atomically", "write_bytes",
    "write_text", "ZipFile",
}  # fmt: skip
"""Names of functions and methods that write, move or remove a file."""
CHECKED = {"replace_file", "replace_text"}


def writes(tree):
    """Each call in a module that writes, moves or removes a file, by its short name, and its line."""
    inside = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.With)
        and any(
            isinstance(item.context_expr, ast.Call) and name_of(item.context_expr) in CHECKED for item in node.items
        )
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or id(node) in inside:
            continue
        name, called = name_of(node), ast.unparse(node.func)
        mode = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
        modes = {value.value for value in mode if isinstance(value, ast.Constant) and isinstance(value.value, str)}
        if called == "os.open":
            yield called, node.lineno
        elif name in ("open", "fdopen"):
            if any(set(mode) <= set("rwxabt+") and set(mode) & set("wxa+") for mode in modes):
                yield name, node.lineno
        elif name == "replace":
            # Path.replace and os.replace; that of a text has two arguments, that of a named tuple or dataclass keywords
            if called == "os.replace" or (len(node.args) == 1 and not node.keywords):
                yield name, node.lineno
        elif name in WRITERS and not (called.startswith(("copy.", "json.")) or writes_elsewhere(node, called)):
            yield name, node.lineno


def name_of(call):
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def writes_elsewhere(call, called):
    """Whether a call has the name of one that writes a file, and is another: a method without arguments of its own."""
    lists_and_sets = name_of(call) in ("copy", "remove") and "shutil" not in called and "os." not in called
    bytes_in_memory = called == "save" and len(call.args) == 1
    read_only = name_of(call) == "ZipFile" and len(call.args) == 1 and not call.keywords
    read_memmap = name_of(call) == "memmap" and any(
        keyword.arg == "mode" and ast.unparse(keyword.value) == "'r'" for keyword in call.keywords
    )
    return lists_and_sets or bytes_in_memory or read_only or read_memmap


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_only_storage_writes_files_that_users_name(path):
    name = path.relative_to(SOURCE).as_posix()
    if name.startswith("storage/"):
        return
    found = list(writes(ast.parse(path.read_text(encoding="utf-8"))))
    unknown = [f"line {line}: {what}" for what, line in found if what not in ALLOWED.get(name, set())]
    assert not unknown, (
        f"{name}: {'; '.join(unknown)}; write it with refrain.storage.output_files, or list a cache in ALLOWED"
    )


@pytest.mark.parametrize(
    "line",
    [
        "open(path, 'w')",
        "path.open('wb')",
        "open(path, mode='a')",
        "open(path, 'r+b')",
        "io.open(path, 'x', encoding='utf-8')",
        "os.open(path, os.O_WRONLY)",
        "path.write_text('')",
        "path.write_bytes(b'')",
        "figure.savefig(path)",
        "np.savez(path, **arrays)",
        "torch.save(state, path)",
        "save_file(tensors, path)",
        "os.replace(a, b)",
        "fresh.replace(path)",
        "a.rename(b)",
        "shutil.copyfile(a, b)",
        "shutil.rmtree(path)",
        "frame.to_csv(path)",
        "write_atomically(path, content)",
    ],
)
def test_the_rule_sees_what_it_should(line):
    assert list(writes(ast.parse(line)))
    assert list(writes(ast.parse(f"def f():\n    with open(path) as file:\n        {line}\n")))
    assert not list(writes(ast.parse(f"with replace_file(path, force=force) as file:\n    {line}\n")))


@pytest.mark.parametrize(
    "line", ["open(path)", "path.open('rb')", "text.replace('a', 'b')", "row._replace(a=1)", "zipfile.ZipFile(path)"]
)
def test_the_rule_lets_pass_what_it_should(line):
    assert not list(writes(ast.parse(line)))
