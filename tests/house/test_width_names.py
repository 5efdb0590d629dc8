"""Widths have names in one place: no file but the models' and the settings' takes one apart or puts one together."""

import ast
import pathlib
import re

import pytest

SOURCE = pathlib.Path(__file__).parents[2] / "src" / "refrain"
# models give the names; in settings and recipes they are values that users write
NAMING = {"models", "config", "recipes"}
FILES = [path for path in sorted(SOURCE.rglob("*.py")) if path.relative_to(SOURCE).parts[0] not in NAMING]
WIDTH_NAME = re.compile(r"\blayer(\d+|\{\})(\.|$)|\.(hidden|intermediate)\b|\bhead\.(embedding|components|cluster)")


def strings(tree):
    """The strings of a program but its docstrings; what an f-string fills in is a pair of braces."""
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    described = ast.Module | ast.ClassDef | ast.FunctionDef
    first = {
        id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, described) and ast.get_docstring(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts | first:
            yield node.value


def width_names(source):
    return [text for text in strings(ast.parse(source)) if WIDTH_NAME.search(text)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_no_file_names_widths_by_a_pattern(path):
    assert width_names(path.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        'name.endswith((".hidden", ".intermediate"))',
        'f"layer{index}"',
        'f"layer{index}.hidden"',
        'name.removesuffix(".hidden") + ".intermediate"',
        'sizes["layer0.hidden"]',
        'Axis("head.embedding")',
    ],
)
def test_the_rule_sees_a_width_name(line):
    assert width_names(line)


@pytest.mark.parametrize(
    "line", ['f"layers.{index}.{name}"', 'f"layer {index} has {width}"', '"of layer0.hidden"\nx = 1']
)
def test_the_rule_sees_nothing_in_names_of_parameters_and_in_docstrings(line):
    assert not width_names(line)


def test_sparsity_and_compaction_know_no_layer():
    """They read declared axes; which layer or head declared them, and with what settings, is not their business."""
    files = list((SOURCE / "sparsity").glob("*.py"))
    holders = [
        path for path in FILES if re.search(r"^def (build_sparsifier|units_to_remove|prove)\(", path.read_text(), re.M)
    ]
    assert len(files) >= 6 and len(holders) == 3
    for path in files + holders:
        modules = {node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)}
        # kernels and sums take matrices, and know no layer either
        layers = {module for module in modules if (module or "").startswith("refrain.nn")}
        assert layers <= {"refrain.nn.kernels.call", "refrain.nn.precision"}, path
