"""The rules of the house that a program can hold."""

import ast
import importlib
import io
import json
import pathlib
import re
import tokenize

import pytest

import refrain
from refrain import _moved

ROOT = pathlib.Path(__file__).parents[2]
SOURCE = ROOT / "src" / "refrain"
FILES = sorted(SOURCE.rglob("*.py"))
GOLDEN = ROOT / "tests" / "golden" / "public_names.json"
# the modules of version 0.1 and the names that its packages exported
IMPORTS = ROOT / "tests" / "golden" / "imports_0.1.json"

LAYERS = [
    {"errors", "axes", "_lazy", "_openmp", "_signals", "_version", "_moved"},
    {"arguments"},
    {"storage"},
    {"progress"},
    {"config", "nn"},
    {"models", "parallel", "recipes"},
    {"data", "optim", "sparsity", "testing"},
    {"training", "evaluation", "generation", "pictures"},
    {"trained"},
    {"assembly"},
    {"runs"},
    {"export", "importers"},
    {"bench"},
    {"studies"},
    {"serve"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
PACKAGES = sorted(path.parent.relative_to(SOURCE).as_posix() for path in FILES if path.name == "__init__.py")


def relative(path):
    return path.relative_to(SOURCE).as_posix()


def imported(path):
    """Packages that the file imports, wherever in the file it does so; `from refrain import x` counts as x."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module == "refrain":
            names = [f"refrain.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        yield from (name.split(".")[1] for name in names if name.startswith("refrain."))


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.parent != SOURCE or path.name != "__init__.py"], ids=relative
)
def test_imports_point_down(path):
    here = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    for there in set(imported(path)) - {here, "__version__"}:
        assert LEVEL[there] < LEVEL[here], f"{here} imports {there}"


def test_the_import_rule_sees_what_it_should(tmp_path):
    file = tmp_path / "x.py"
    file.write_text(
        "def f():\n    from refrain.cli import run\n    from refrain import runs\n    import refrain.nn.heads\n"
    )
    assert set(imported(file)) == {"cli", "runs", "nn"}


def test_config_and_the_command_line_do_not_import_torch_at_their_top():
    for path in [*(SOURCE / "config").glob("*.py"), *(SOURCE / "cli").glob("*.py"), SOURCE / "errors.py"]:
        top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module for node in top if isinstance(node, ast.ImportFrom) and node.module}
        assert not {name for name in names if name.split(".")[0] == "torch"}, path


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            limit = 80 if node.name == "train_round" else 60 if path.parent.name == "cli" else 50
            length = node.end_lineno - node.lineno + 1
            doc = ast.get_docstring(node, clean=False)
            length -= len(doc.splitlines()) if doc else 0
            assert length <= limit, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_modules_open_with_a_line_of_their_own(path):
    doc = ast.get_docstring(ast.parse(path.read_text()))
    assert doc and doc.splitlines()[0].strip()


def public_functions(tree):
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node, False
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from ((n, True) for n in node.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_"))


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_public_functions_are_documented_as_they_are(path):
    tree = ast.parse(path.read_text())
    protocols = {
        id(inner)
        for node in tree.body
        if isinstance(node, ast.ClassDef) and any("Protocol" in ast.unparse(base) for base in node.bases)
        for inner in node.body
    }
    for node, method in public_functions(tree):
        decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
        # the signatures of an overloaded function have no docstrings; the function itself has
        if id(node) in protocols or decorators & {"staticmethod", "overload"}:
            continue
        doc = ast.get_docstring(node)
        assert doc, f"{node.name} has no docstring"
        described = documented(doc)
        if described is not None:
            every = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            arguments = [argument for argument in every if not has_shared_help(argument)]
            names = [argument.arg for argument in arguments][1 if method else 0 :]
            names += [node.args.vararg.arg] if node.args.vararg else []
            assert sorted(described) == sorted(names), f"{node.name}: documented {described}, takes {names}"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_constructors_are_documented_as_they_are(path):
    for node in ast.parse(path.read_text()).body:
        if not isinstance(node, ast.ClassDef):
            continue
        for inner in node.body:
            if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
                described = documented(ast.get_docstring(node) or "")
                names = [a.arg for a in inner.args.args[1:] + inner.args.kwonlyargs]
                if described is not None:
                    assert sorted(described) == sorted(names), f"{node.name}: documented {described}, takes {names}"


def has_shared_help(argument):
    """Whether the help text of a command's argument is in its type, declared once in `cli/options.py`."""
    return argument.annotation is not None and ast.unparse(argument.annotation).endswith(("Option", "Argument"))


def documented(doc):
    """The names under `Args:` or `Parameters`, or None where the docstring has no such list."""
    if match := re.search(r"^Args:\n((?:[ ]{4}.*\n?|\n)+)", doc, re.MULTILINE):
        return re.findall(r"^    (\w+): ", match[1], re.MULTILINE)
    if match := re.search(r"^Parameters\n-+\n((?:.*\n?)+)", doc, re.MULTILINE):
        return re.findall(r"^(\w+)$", match[1], re.MULTILINE)
    return None


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_nothing_can_run_what_a_file_holds(path):
    """No pickle and none of the loaders that unpickle, no eval or exec, no YAML."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
            assert not {"pickle", "dill", "cloudpickle", "shelve", "marshal", "yaml", "joblib"} & {
                part for name in names for part in name.split(".")
            }
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "compile", "torch.load", "torch.jit.load", "np.load", "numpy.load")
            assert not called.endswith("dcp.load")


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_comments_say_why(path):
    """No banners, no code that was commented out, no notes to oneself."""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type == tokenize.COMMENT:
            text = token.string.lstrip("#").strip()
            assert not re.search(r"[-=*#~]{4}", text), token.string
            assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", text), token.string
            assert not re.match(r"(import |from \w+ import|def |class |return\b.*\(|print\(|\w+ = .*\()", text), (
                token.string
            )


def test_public_names_are_those_of_the_committed_file():
    """What a package exports is API. When a change means to alter it, the file and the changelog change with it."""
    found = {}
    for package in PACKAGES:
        module = "refrain" if package == "." else "refrain." + package.replace("/", ".")
        tree = ast.parse((SOURCE / package / "__init__.py").read_text())
        names = [
            alias.asname
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
            if alias.asname and alias.asname == alias.name
        ]
        imported_module = importlib.import_module(module)
        assert all(hasattr(imported_module, name) for name in names), module
        # a package whose contents are imported from its modules exports nothing
        if names:
            found[module] = sorted(names)
    assert found == json.loads(GOLDEN.read_text())
    assert len(found["refrain"]) <= 12


def test_an_unknown_name_is_an_attribute_error():
    import refrain

    with pytest.raises(AttributeError, match="refrain"):
        _ = refrain.nonsense


@pytest.mark.parametrize(("old", "new"), list(_moved.MOVED.items()))
def test_an_import_path_of_version_0_1_fails_with_the_new_one(old, new):
    with pytest.raises(ModuleNotFoundError) as raised:
        importlib.import_module(old)
    assert new in str(raised.value)
    for module in re.findall(r"refrain[\w.]*\w", new):
        importlib.import_module(module)


def test_every_import_path_of_version_0_1_works_or_names_the_new_one():
    lost = []
    for path in json.loads(IMPORTS.read_text()):
        package, _, name = path.rpartition(".")
        try:
            exec(f"from {package} import {name}" if package else f"import {name}")
        except ImportError as error:
            if "has moved: import it from" not in str(error):
                lost.append(f"{path}: {error}")
    assert not lost


# modules of the standard library that Windows lacks
UNIX = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}


def outside_functions(tree):
    """The nodes that run when a module is imported."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            yield from outside_functions(node)


def unix_imports(path):
    for node in outside_functions(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        yield from (name for name in names if name.partition(".")[0] in UNIX)


def test_no_module_of_unix_alone_is_imported_at_the_top():
    """Windows can import every module; a function that needs such a module describes what it does without."""
    assert {path.name: found for path in FILES if (found := list(unix_imports(path)))} == {}


def test_the_rule_about_modules_of_unix_sees_what_it_should(tmp_path):
    file = tmp_path / "x.py"
    file.write_text("try:\n    import fcntl\nexcept ImportError:\n    pass\ndef f():\n    import resource\n")
    assert list(unix_imports(file)) == ["fcntl"]


def test_only_the_room_of_pictures_imports_matplotlib():
    found = {
        relative(path).split("/")[0]
        for path in FILES
        if re.search(r"^\s*(from|import) matplotlib", path.read_text(), re.M)
    }
    assert found == {"pictures"}


def test_the_changelog_begins_with_what_comes_next_or_with_this_version():
    text = (ROOT / "CHANGELOG.md").read_text()
    first = re.search(r"^## (.+)\n\n### (Added|Changed|Fixed|Removed)\n\n- ", text, re.MULTILINE)
    assert first is not None and text.index("\n## ") == first.start() - 1
    assert first[1] in ("Unreleased", refrain.__version__)
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited is not None and cited[1] == refrain.__version__
