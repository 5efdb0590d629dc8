"""Proximal steps of all widths in one pass over each matrix: those of the widths in turn, for every model."""

import copy
import math

import pytest
import torch
from table import MODELS, SEGMENTED

from refrain.axes import removable
from refrain.nn.kernels.call import call
from refrain.sparsity import L1, LineLasso, UnitLasso, take_steps, unit_axes

pytestmark = pytest.mark.compiler
EVERY = {**MODELS, **SEGMENTED}


def penalties(model, scaling="none", overlap="twice"):
    """Group lasso on every width, so strong that some units of most widths become zero."""
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    found = unit_axes(model.axes())
    lassos = []
    for width in removable(model.axes()):
        lasso = UnitLasso(parameters, found[width], 1.0, scaling, overlap)
        # a step of rate 1 makes a group of median norm zero
        lasso.strength = 1.01 * float(lasso.norms().median() / lasso.shrinkage(1.0).mean())
        lassos.append(lasso)
    return lassos


@pytest.mark.parametrize("some", [False, True], ids=["all units", "some units"])
@pytest.mark.parametrize("options", [{}, {"scaling": "sqrt-size"}, {"overlap": "once"}], ids=str)
@pytest.mark.parametrize("name", EVERY)
def test_steps_in_one_pass_are_those_of_the_widths_in_turn(name, options, some):
    torch.manual_seed(1)
    model = EVERY[name]().float()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    found = []
    strengths = None
    for native in (False, True):
        one = copy.deepcopy(model)
        lassos = penalties(one, **options)
        strengths = strengths or [lasso.strength for lasso in lassos]
        for lasso, strength in zip(lassos, strengths, strict=True):
            lasso.strength = strength
            if some:
                lasso.penalised = torch.arange(len(lasso.norms())) % 3 > 0
        versions = {name: parameter._version for name, parameter in one.named_parameters()}
        take_steps(lassos, 1.0, native=native)
        take_steps(lassos, 1e-3, native=native)
        changed = {name for name, parameter in one.named_parameters() if parameter._version > versions[name]}
        found.append((list(one.parameters()), changed))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-5, atol=1e-6)
    assert found[0][1] == found[1][1]
    zeros = [torch.cat([parameter.flatten() == 0 for parameter in parameters]) for parameters, _ in found]
    assert torch.equal(*zeros) and 0.05 < float(zeros[0].float().mean()) < 0.95


def test_other_penalties_keep_their_place():
    torch.manual_seed(1)
    model = MODELS["untied"]().float()
    found = []
    for native in (False, True):
        one = copy.deepcopy(model)
        lassos = penalties(one)
        entries = L1(list(one.parameters()), 0.01)
        rows = LineLasso([[one.head.weight]], 0.02, 1)
        lassos[0].strength = 0.0
        take_steps([lassos[1], entries, *lassos, rows], 0.5, native=native)
        found.append(list(one.parameters()))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-6)


def test_penalties_on_the_same_width_act_one_after_another():
    torch.manual_seed(1)
    model = MODELS["untied"]().float()
    found = []
    for native in (False, True):
        one = copy.deepcopy(model)
        lassos = penalties(one)
        take_steps([*lassos, *lassos], 0.3, native=native)
        found.append(list(one.parameters()))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (64, 16), (65, 37), (200, 3), (3, 130), (0, 5)])
@pytest.mark.parametrize("given", ["", "rows", "columns", "rows columns"])
def test_sums_and_scaling_of_lines(shape, given):
    torch.manual_seed(2)
    matrix = torch.randn(shape)
    factors = [
        torch.randn(size) if name in given else None for name, size in zip(("rows", "columns"), shape, strict=True)
    ]
    scaled = matrix.double()
    scaled = scaled if factors[0] is None else scaled * factors[0][:, None]
    scaled = scaled if factors[1] is None else scaled * factors[1]
    for wanted in ((True, True), (True, False), (False, True)):
        sums = [torch.full((size,), math.nan) if asked else None for size, asked in zip(shape, wanted, strict=True)]
        assert call("update", "line_squares", matrix, *factors, *sums, *shape)
        for dimension, got in enumerate(sums):
            if got is not None:
                torch.testing.assert_close(got, scaled.square().sum(1 - dimension).float())
    assert call("update", "scale_lines", matrix, *factors, *shape)
    torch.testing.assert_close(matrix, scaled.float())


def test_the_same_bits_by_any_number_of_threads():
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            torch.manual_seed(1)
            model = MODELS["untied"]().float()
            take_steps(penalties(model), 1e-2, native=True)
            found.append(list(model.parameters()))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))
