"""Groups come from the declared axes: perturbing one unit at a time finds what belongs to it, for every model."""

import copy
import math

import pytest
import torch
from table import MODELS, B, T, V, argument

from refrain.axes import Axis, removable
from refrain.errors import UserError
from refrain.sparsity import L1, LineLasso, UnitLasso, clear_units, dead_units, select_units, squared_norms, unit_axes
from refrain.sparsity.compact import largest_entries, weakest_first
from refrain.sparsity.dropping import drop_until
from refrain.sparsity.groups import scale_units
from refrain.sparsity.sizes import layer_multiply_adds, multiply_adds, parameter_count

READERS, WRITERS = ("reads", "both"), ("writes", "both", "shifts", "scales")


def nats(model):
    ids = torch.randint(V, (T + 1, B), generator=torch.Generator().manual_seed(6))
    return model.token_nats(ids[:-1], ids[1:], model.initial_state(B))[0]


def units(model):
    for width in removable(model.axes()):
        yield from ((width, unit) for unit in range(model.widths()[width]))


def change(model, width, unit, roles, value):
    """Set everything of a unit that has one of the roles; `value` maps a tensor's shape to what to put there."""
    parameters = dict(model.named_parameters())
    size = model.widths()[width]
    with torch.no_grad():
        for unit_axis in unit_axes(model.axes())[width]:
            if unit_axis.axis.role in roles:
                index = torch.tensor([unit + copy * size for copy in range(unit_axis.axis.copies)])
                parameter = parameters[unit_axis.parameter]
                part = parameter.index_select(unit_axis.dimension, index)
                parameter.index_copy_(unit_axis.dimension, index, value(part.shape))


def zeros(shape):
    return torch.zeros(shape, dtype=torch.float64)


def noise(shape):
    return torch.randn(shape, dtype=torch.float64)


def test_a_unit_that_nothing_reads_can_be_written_anything(model):
    for width, unit in units(model):
        one = copy.deepcopy(model)
        change(one, width, unit, READERS, zeros)
        wanted = nats(one)
        change(one, width, unit, set(WRITERS) - {"both"}, noise)
        torch.testing.assert_close(nats(one), wanted, msg=f"{width} {unit}")
        # it is declared dead, and it alone
        dead = dead_units(dict(one.named_parameters()), unit_axes(one.axes())[width])
        assert dead.nonzero().flatten().tolist() == [unit]


def test_a_unit_that_is_written_zero_can_be_read_by_anything(model):
    for width, unit in units(model):
        one = copy.deepcopy(model)
        change(one, width, unit, WRITERS, zeros)
        wanted = nats(one)
        change(one, width, unit, ("reads",), noise)
        torch.testing.assert_close(nats(one), wanted, msg=f"{width} {unit}")
        dead = dead_units(dict(one.named_parameters()), unit_axes(one.axes())[width])
        assert dead.nonzero().flatten().tolist() == [unit]


def test_a_living_unit_matters(model):
    wanted = nats(model)
    for width, unit in units(model):
        one = copy.deepcopy(model)
        change(one, width, unit, READERS, zeros)
        assert not torch.allclose(nats(one), wanted), f"{width} {unit}"
        assert not dead_units(dict(model.named_parameters()), unit_axes(model.axes())[width]).any()


def test_the_norm_of_a_group_is_that_of_its_entries(model):
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    found = unit_axes(model.axes())
    for width, unit in units(model):
        mask = {name: torch.zeros_like(parameter) for name, parameter in parameters.items() if parameter.ndim == 2}
        size = model.widths()[width]
        for unit_axis in found[width]:
            if unit_axis.parameter in mask:
                index = torch.tensor([unit + copy * size for copy in range(unit_axis.axis.copies)])
                mask[unit_axis.parameter].index_add_(
                    unit_axis.dimension,
                    index,
                    torch.ones_like(mask[unit_axis.parameter].index_select(unit_axis.dimension, index)),
                )
        twice = sum(float((parameters[name] ** 2 * count).sum()) for name, count in mask.items())
        once = sum(float((parameters[name] ** 2 * (count > 0)).sum()) for name, count in mask.items())
        torch.testing.assert_close(float(squared_norms(parameters, found[width])[unit]), twice)
        torch.testing.assert_close(float(squared_norms(parameters, found[width], overlap="once")[unit]), once)
        largest = max(float((parameters[name].abs() * (count > 0)).max()) for name, count in mask.items())
        assert float(largest_entries(parameters, found[width])[unit]) == largest


def test_scaling_by_zero_kills_a_unit_for_all_that_reads_it(model):
    for width, unit in units(model):
        one = copy.deepcopy(model)
        factors = torch.ones(one.widths()[width], dtype=torch.float64)
        factors[unit] = 0
        scale_units(dict(one.named_parameters()), unit_axes(one.axes())[width], factors)
        assert dead_units(dict(one.named_parameters()), unit_axes(one.axes())[width])[unit]


def test_cleared_units_can_be_taken_out_of_every_width_at_once(model):
    torch.manual_seed(2)
    parameters, found, table = dict(model.named_parameters()), unit_axes(model.axes()), model.axes()
    kept = {}
    for width in removable(table):
        size = model.widths()[width]
        dead = torch.zeros(size, dtype=torch.bool)
        dead[torch.randperm(size)[: size // 2]] = True
        clear_units(parameters, found[width], dead)
        kept[width] = (~dead).nonzero().flatten()
    wanted = nats(model)
    arguments = {argument(width): len(index) for width, index in kept.items()}
    name = next(
        name for name, build in MODELS.items() if {n for n in build().axes()} == set(table) and same(build, model)
    )
    smaller = MODELS[name](**arguments).double()
    selected = select_units(parameters, table, kept)
    with torch.no_grad():
        for name, parameter in smaller.named_parameters():
            parameter.copy_(selected[name])
    torch.testing.assert_close(nats(smaller), wanted)
    assert parameter_count(smaller.axes(), smaller.widths()) == sum(p.numel() for p in smaller.parameters())


def same(build, model):
    return {name: p.shape for name, p in build().named_parameters()} == {
        name: p.shape for name, p in model.named_parameters()
    }


def test_units_are_dropped_weakest_first_until_the_model_is_small_enough(model):
    table, sizes = model.axes(), model.widths()
    widths = removable(table)
    victim = widths[-1]
    with torch.no_grad():
        change(model, victim, 2, {*WRITERS, *READERS}, lambda shape: 1e-3 * noise(shape))
    ranking = weakest_first(dict(model.named_parameters()), table, widths)
    assert ranking[0] == (victim, 2)
    whole = parameter_count(table, sizes)
    for measure, size in (("parameters", whole), ("bytes", 4 * whole), ("multiply_adds", multiply_adds(table, sizes))):
        assert drop_until(ranking, table, sizes, measure=measure, target=size) == {}
        dropped = drop_until(ranking, table, sizes, measure=measure, target=size - 1)
        assert dropped == {victim: [2]}
    with pytest.raises(ValueError, match="cannot go below"):
        drop_until(ranking, table, sizes, measure="parameters", target=1)


def test_multiply_adds_are_the_entries_of_what_is_multiplied(model):
    counted = multiply_adds(model.axes(), model.widths())
    matrices = sum(parameter.numel() for parameter in model.parameters() if parameter.ndim == 2)
    looked_up = 0 if model.head.tied else model.embedding.weight.numel()
    assert counted == matrices - looked_up
    layers = layer_multiply_adds(model.axes(), model.widths())
    assert layers == sum(parameter.numel() for parameter in model.stack.parameters() if parameter.ndim == 2) < counted


def test_a_group_lasso_is_the_sum_of_norms_and_its_step_shortens_them():
    torch.manual_seed(1)
    weight = torch.randn(6, 4, dtype=torch.float64)
    found = unit_axes({"weight": (Axis("units"), Axis("inputs", role="reads"))})["units"]
    lasso = UnitLasso({"weight": weight}, found, 0.3)
    before = weight.norm(dim=1)
    torch.testing.assert_close(lasso.norms(), before)
    torch.testing.assert_close(float(lasso.loss()), float(0.3 * before.sum()), atol=1e-6, rtol=1e-6)
    lasso.step(2.0)
    torch.testing.assert_close(weight.norm(dim=1), (before - 0.6).clamp_min(0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sums_of_half_precision_are_computed_in_float32(dtype):
    # a sum of squares beyond the largest float16, and a gradient at zero
    large = torch.full((4, 200), 40.0, dtype=dtype, requires_grad=True)
    exact = large.detach().float()
    axes = unit_axes({"weight": (Axis("width", 1), Axis("below", role="reads"))})["width"]
    unit, line, single = UnitLasso({"weight": large}, axes, 0.5), LineLasso([[large]], 0.5, 1), L1([large], 0.5)
    wanted = 0.5 * exact.norm(dim=1)
    for penalty, value in ((unit, wanted.sum()), (line, wanted.sum()), (single, 0.5 * exact.abs().sum())):
        loss = penalty.loss()
        torch.testing.assert_close(loss, value)
        (gradient,) = torch.autograd.grad(loss, large)
        assert gradient.dtype == dtype and gradient.isfinite().all() and gradient.any()
    zero = torch.zeros(4, 200, dtype=dtype, requires_grad=True)
    UnitLasso({"weight": zero}, axes, 0.5).loss().backward()
    assert not zero.grad.any()
    # a step would round back to the weights before it
    for penalty in (unit, line, single):
        with pytest.raises(UserError, match="keep the parameters in float32"):
            penalty.step(1e-4)


@pytest.mark.parametrize("dimension", [0, 1])
def test_a_line_runs_through_the_matrices_that_stand_side_by_side(dimension):
    torch.manual_seed(1)
    whole = torch.randn(5, 7, dtype=torch.float64)
    parts = [part.clone() for part in whole.split([3, 4] if dimension else [2, 3], dim=dimension)]
    before = whole.norm(dim=dimension)
    lasso = LineLasso([parts], 0.3, dimension)
    torch.testing.assert_close(float(lasso.loss()), float(0.3 * before.sum()), atol=1e-6, rtol=1e-6)
    lasso.step(2.0)
    torch.testing.assert_close(torch.cat(parts, dimension).norm(dim=dimension), (before - 0.6).clamp_min(0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda found: UnitLasso({}, found, 0.1, scaling="sqrt_size"), "scaling: must be one of none, sqrt-size"),
        (lambda found: UnitLasso({}, found, 0.1, overlap="1x"), "overlap: must be one of twice, once (got '1x')"),
        (lambda found: UnitLasso({}, found, -0.1), "strength must be at least 0 (got -0.1)"),
        (lambda found: UnitLasso({}, found, "0.1"), "strength: must be a number (got '0.1')"),
        (lambda found: L1([], -0.1), "strength must be at least 0 (got -0.1)"),
        (lambda found: LineLasso([], math.nan, 1), "strength must be at least 0 (got nan)"),
        (lambda found: LineLasso([], 0.1, 2), "dimension: must be 1 for rows or 0 for columns (got 2)"),
        (lambda found: squared_norms({}, found, overlap="1x"), "overlap: must be one of twice, once (got '1x')"),
    ],
)
def test_penalties_that_do_not_exist(make, message):
    found = unit_axes({"weight": (Axis("units"), Axis("inputs", role="reads"))})["units"]
    with pytest.raises(UserError) as raised:
        make(found)
    assert str(raised.value).startswith(message)


def test_units_of_large_groups_are_ranked_in_half_precision():
    # more entries than the largest float16
    weight = torch.tensor([4.0, 3.0, 2.0, 1.0])[:, None].expand(4, 70_000).half().contiguous()
    table = {"weight": (Axis("units"), Axis("inputs", role="reads"))}
    assert [unit for _, unit in weakest_first({"weight": weight}, table, ["units"])] == [3, 2, 1, 0]


def test_penalties_take_iterators():
    """As `model.parameters()` is one, which ends after one use."""
    weight = torch.nn.Parameter(torch.ones(2, 3))
    single = L1((each for each in [weight]), 0.5)
    line = LineLasso((iter([each]) for each in [weight]), 0.5, 1)
    for _ in range(2):
        assert single.loss().item() == pytest.approx(3.0)
        assert line.loss().item() == pytest.approx(3**0.5, rel=1e-4)
    for count in (1, 2, 3):
        single.step(0.2)
        torch.testing.assert_close(weight.detach(), torch.full((2, 3), 1 - 0.1 * count))
    norms = weight.detach().norm(dim=1)
    for count in (1, 2):
        line.step(0.2)
        torch.testing.assert_close(weight.detach().norm(dim=1), norms - 0.1 * count)
