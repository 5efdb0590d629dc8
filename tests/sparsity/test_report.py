"""The report counts what is there, and pictures show it block by block."""

import numpy as np
import pytest
import torch

from refrain.axes import Axis
from refrain.sparsity.compact import dead_by_width, widths_left
from refrain.sparsity.report import block_shares, report, views
from refrain.sparsity.sizes import model_size

# inputs -> first -> second -> outputs
TABLE = {
    "stack.a": (Axis("first", 2), Axis("inputs", role="reads")),
    "bias": (Axis("first", 2),),
    "stack.b": (Axis("second"), Axis("first", role="reads")),
    "c": (Axis("outputs"), Axis("second", role="reads")),
}
SIZES = {"inputs": 3, "first": 4, "second": 5, "outputs": 2}


@pytest.fixture
def parameters():
    torch.manual_seed(1)
    return {"stack.a": torch.randn(8, 3), "bias": torch.randn(8), "stack.b": torch.randn(5, 4), "c": torch.randn(2, 5)}


def test_the_figures_are_those_of_the_tensors(parameters):
    # nothing reads unit 3 of the second width; unit 1 of the first is read by that unit alone, and goes with it
    parameters["c"][:, 3] = 0.0
    parameters["stack.b"][:, 1] = 0.0
    parameters["stack.b"][3, 1] = 1.0
    before = {name: parameter.clone() for name, parameter in parameters.items()}
    found = report(parameters, TABLE, SIZES, ["first", "second"])
    assert found["widths"] == {
        "first": {"units": 4, "dead": 1, "left": 3},
        "second": {"units": 5, "dead": 1, "left": 4},
    }
    assert found["tensors"]["stack.b"] == {"shape": [5, 4], "zeros": 4 / 20, "zero_rows": 0, "zero_columns": 0}
    assert found["tensors"]["c"] == {"shape": [2, 5], "zeros": 2 / 10, "zero_rows": 0, "zero_columns": 1}
    assert found["tensors"]["bias"] == {"shape": [8], "zeros": 0.0, "zero_rows": None, "zero_columns": None}
    assert found["zeros"] == 6 / (24 + 20 + 10)
    assert (found["parameters"], found["multiply_adds"]) == (24 + 8 + 20 + 10, 24 + 20 + 10)
    # 2 * 3 rows, 3 of bias twice, 4 x 3, 2 x 4
    assert (found["compact_parameters"], found["compact_multiply_adds"]) == (18 + 6 + 12 + 8, 18 + 12 + 8)
    assert (found["layer_multiply_adds"], found["compact_layer_multiply_adds"]) == (24 + 20, 18 + 12)
    assert all(torch.equal(parameter, before[name]) for name, parameter in parameters.items())


def test_units_die_with_those_that_are_given_up(parameters):
    parameters["stack.b"][:, 0] = 0.0
    parameters["stack.b"][2, 0] = 1.0
    gone = {"second": torch.arange(5) == 2}
    dead = dead_by_width(parameters, TABLE, ["first", "second"], gone=gone)
    assert dead["first"].tolist() == [True, False, False, False]
    assert dead["second"].tolist() == [False, False, True, False, False]
    assert not dead_by_width(parameters, TABLE, ["first", "second"])["first"].any()
    # of a width that is not asked for nothing else goes
    assert dead_by_width(parameters, TABLE, ["second"], gone=gone).keys() == {"second"}


def test_one_unit_always_stays():
    assert widths_left(SIZES, {"first": torch.ones(4) > 0}) == {**SIZES, "first": 1}


def test_sizes_by_each_measure():
    assert model_size("parameters", TABLE, SIZES) == 62
    assert model_size("bytes", TABLE, SIZES) == 4 * 62
    assert model_size("multiply_adds", TABLE, SIZES) == 54


@pytest.mark.parametrize("pixels", [1, 4, 7, 100])
def test_blocks_are_shares_of_their_entries(pixels):
    torch.manual_seed(pixels)
    matrix = torch.randn(11, 9) * (torch.rand(11, 9) > 0.6)
    rows, columns = torch.rand(11) > 0.7, torch.rand(9) > 0.7
    found = block_shares(matrix, rows, columns, pixels=pixels)
    count = [min(length, pixels) for length in matrix.shape]
    assert found.shape == (3, *count)
    blocks = [[index * count[axis] // matrix.shape[axis] for index in range(matrix.shape[axis])] for axis in (0, 1)]
    wanted, sizes = np.zeros((3, *count)), np.zeros(count)
    for i, row in enumerate(blocks[0]):
        for j, column in enumerate(blocks[1]):
            sizes[row, column] += 1
            gone, filled = bool(rows[i] or columns[j]), bool(matrix[i, j] != 0)
            for kind, there in enumerate((filled and not gone, filled and gone, not filled and gone)):
                wanted[kind, row, column] += there
    np.testing.assert_allclose(found.numpy(), wanted / sizes, atol=1e-6)


def test_views_say_what_runs_along_the_sides(parameters):
    parameters["stack.b"][:, 1] = 0.0
    matrices, widths = views(parameters, TABLE, ["first", "second"], pixels=6)
    assert [view.name for view in matrices] == ["stack.a", "stack.b", "c"]
    first = matrices[0]
    assert (first.shape, first.widths, first.copies) == ((8, 3), ("2 × first", "inputs"), (2, 1))
    assert first.shares.shape == (3, 6, 3)
    # unit 1 is a row in both blocks of `stack.a`: row 1, and row 5, which is alone in a pixel or shares one
    assert float(first.shares[1].sum()) > 0 and float(matrices[1].shares[2, :, 1].min()) == 1.0
    assert [view.name for view in widths] == ["first", "second"]
    torch.testing.assert_close(
        widths[0].norms[1].square(),
        parameters["stack.a"][[1, 5]].square().sum() + parameters["stack.b"][:, 1].square().sum(),
    )
    assert widths[0].dead.tolist() == [False, True, False, False]
