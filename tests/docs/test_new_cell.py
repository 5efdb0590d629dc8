"""CONTRIBUTING's steps for a new recurrent cell, followed in a copy of the source: laws, training and evaluation."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
NAME = "minimal_gated_unit"

LAYER = '''\
"""Minimal gated unit (Zhou et al., 2016, equations 6 to 8).

T steps in the window, B batch, I input width, H hidden width.
"""

from typing import NamedTuple

from torch import Tensor, nn

from refrain.axes import AxisTable
from refrain.nn.recurrent.gated import draw_uniform, gated_axes, gated_parameters
from refrain.nn.recurrent.protocol import check_window, scan


class UnitState(NamedTuple):
    """What a minimal gated unit carries from one step to the next."""

    hidden: Tensor  # (B, H)


def minimal_gated_unit_step(x, state, w_ih, w_hh, bias):
    """One step, as in the paper."""
    forget_x, candidate_x = (x @ w_ih.T + bias).chunk(2, dim=-1)
    forget_h, candidate_h = w_hh.chunk(2)
    forget = (forget_x + state.hidden @ forget_h.T).sigmoid()
    candidate = (candidate_x + (forget * state.hidden) @ candidate_h.T).tanh()
    hidden = (1 - forget) * state.hidden + forget * candidate
    return hidden, UnitState(hidden)


class MinimalGatedUnit(nn.Module):
    """A layer with a single gate."""

    gates = 2
    inner_widths: tuple[str, ...] = ()

    def __init__(self, input_size, hidden_size, *, input_transform=None, recurrent_transform=None):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        parameters = gated_parameters("MinimalGatedUnit", self.gates, input_size, hidden_size)
        self.weight_ih, self.weight_hh, self.bias = parameters
        self.input_transform = input_transform or nn.Identity()
        self.recurrent_transform = recurrent_transform or nn.Identity()
        draw_uniform(self, hidden_size)

    @property
    def transforms(self):
        return {"weight_ih": self.input_transform, "weight_hh": self.recurrent_transform}

    def initial_state(self, batch_size):
        return UnitState(self.weight_hh.new_zeros(batch_size, self.hidden_size))

    def weights(self):
        return self.input_transform(self.weight_ih), self.recurrent_transform(self.weight_hh), self.bias

    def forward(self, inputs, state):
        check_window(self.input_size, self.hidden_size, inputs, state)
        weights = self.weights()
        return scan(lambda x, before: minimal_gated_unit_step(x, before, *weights), inputs, state)

    def step(self, x, state):
        check_window(self.input_size, self.hidden_size, x, state)
        return minimal_gated_unit_step(x, state, *self.weights())

    def describe(self, build, x, state):
        weights = dict(zip(("weight_ih", "weight_hh", "bias"), self.weights()))
        return build.cell("MinimalGatedUnit", minimal_gated_unit_step, x, state, weights)

    def axes(self, input_width, hidden_width) -> AxisTable:
        return gated_axes(
            self.gates,
            input_width,
            hidden_width,
            input_transform=self.input_transform,
            recurrent_transform=self.recurrent_transform,
        )
'''
PACKAGE = '''\
"""Minimal gated unit: the layer with the paper's step."""

from .layer import MinimalGatedUnit as MinimalGatedUnit
from .layer import minimal_gated_unit_step as minimal_gated_unit_step
'''
SETTINGS = '''

class MinimalGatedUnitCell(Settings):
    """Minimal gated unit."""

    layer: ClassVar[str] = "MinimalGatedUnit"
    kind: Literal["minimal-gated-unit"] = "minimal-gated-unit"


Cell = Annotated[
    MinimalGatedUnitCell | '''
LAW = '''\
def minimal_gated_unit_reference(layer):
    """The step of a layer, as a function of one input and a state."""
    weights = layer.weight_ih, layer.weight_hh, layer.bias
    return lambda x, state: refrain.nn.minimal_gated_unit_step(x, state, *weights)


STEPS = {
    "MinimalGatedUnit": minimal_gated_unit_reference,
'''
# file -> what its lines become: (old, new), each old text once in the file
EDITS = {
    "src/refrain/nn/__init__.py": [
        (
            "from .recurrent import RecurrentLayer as RecurrentLayer\n",
            "from .recurrent import RecurrentLayer as RecurrentLayer\n"
            f"from .recurrent.{NAME} import MinimalGatedUnit as MinimalGatedUnit\n"
            f"from .recurrent.{NAME} import minimal_gated_unit_step as minimal_gated_unit_step\n",
        )
    ],
    "src/refrain/config/cells.py": [("\nCell = Annotated[LSTMCell", SETTINGS + "LSTMCell")],
    "tests/laws/table.py": [
        ("import torch\n", "import torch\n\nimport refrain.nn\n"),
        ("RECURRENT = {\n", 'RECURRENT = {\n    "MinimalGatedUnit": lambda: refrain.nn.MinimalGatedUnit(I, H),\n'),
        ("STEPS = {\n", LAW),
    ],
    "docs/methods/README.md": [
        ("* [GRU](gru.md)", "* [Minimal gated unit](minimal-gated-unit.md): a single gate.\n* [GRU](gru.md)")
    ],
}
NEW = {f"src/refrain/nn/recurrent/{NAME}/__init__.py": PACKAGE, f"src/refrain/nn/recurrent/{NAME}/layer.py": LAYER}
RUN = """
import refrain
experiment = refrain.recipe(
    "quickstart", "data.corpus=text.txt", "model.cell=minimal-gated-unit", "model.embedding_size=8",
    "model.hidden_sizes=[8]", "model.weight_drop=0.1", "training.epochs=2", "training.batch_size=4",
    "training.window_steps=5", "training.sample_tokens=5", "training.device=cpu",
)
summary = refrain.train(experiment, out="run")
assert summary["epochs"] == 2 and summary["test"]["perplexity"] < 12, summary
import torch
from refrain.bench import bench_cells, cells, limits
cells.STEPS, limits.SHAPES["cpu"], limits.COPIED["cpu"] = 3, (2, 3, 4), 16
names = [row["name"] for row in bench_cells(experiment, repeats=1, widths=(4,), device=torch.device("cpu"))]
assert [name for name in names if "minimal" in name] == ["4 wide, minimal-gated-unit, plain"], names
lm = refrain.load("run")
from refrain.models.step_graph import step_graph
assert step_graph(lm.model).body[1].kind == "MinimalGatedUnit"
print(type(lm.model.stack.layers[0]).__name__, lm.score("a b c").tokens)
"""


def steps():
    """The section of CONTRIBUTING about a cell."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return re.search(r"^## How to add a recurrent cell\n(.*?)^## ", text, re.DOTALL | re.MULTILINE)[1]


def test_the_steps_name_the_files_that_are_touched():
    files = re.findall(r"`((?:src|tests|docs)/[\w./-]+\.\w+)`", steps().split("\n\nTwo more")[0])
    named = [path.replace("NAME", NAME) for path in files]
    assert sorted(named) == sorted([*NEW, *EDITS])
    assert len(named) <= 6


@pytest.fixture
def copy(tmp_path):
    """A copy of the source and of the laws with the new cell in it."""
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for folder in ("src", "tests/laws", "tests/golden", "docs/methods"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    for file in (
        "pyproject.toml",
        "tests/conftest.py",
        "tests/blocked_modules.py",
        "tests/browser.py",
        "tests/processes.py",
    ):
        shutil.copy(ROOT / file, tmp_path / file)
    for path, text in NEW.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    for path, changes in EDITS.items():
        text = (tmp_path / path).read_text(encoding="utf-8")
        for old, new in changes:
            assert text.count(old) == 1, f"{path}: {old!r}"
            text = text.replace(old, new)
        (tmp_path / path).write_text(text, encoding="utf-8")
    return tmp_path


def run(folder, *words):
    """The output of a Python program that imports the copy."""
    environment = os.environ | {"PYTHONPATH": str(folder / "src"), "REFRAIN_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_cell_added_by_the_steps_keeps_the_laws(copy):
    laws = ["-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "tests/laws/test_recurrent.py"]
    said = run(copy, *laws, "-rA", "-k", "MinimalGatedUnit or holds_every_exported_layer")
    assert len(re.findall(r"^PASSED .*MinimalGatedUnit", said, re.MULTILINE)) >= 10
    assert "PASSED tests/laws/test_recurrent.py::test_the_table_holds_every_exported_layer" in said


def test_a_cell_added_by_the_steps_is_trained_and_loaded(copy):
    (copy / "text.txt").write_text("a b c d a b c d e f g h\nb c d e\n" * 60, encoding="utf-8")
    assert run(copy, "-c", RUN).splitlines()[-1] == "MinimalGatedUnit 4"
